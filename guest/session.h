/* The guest's side of a session: it checks which frames the host may send, and when. This module
 * does no I/O and reads no clock. The caller appends bytes from the host to `in`, and takes events
 * from `session_next`. The caller also reports when a command has exited, and when the command
 * accepts more input. */
#ifndef SESSION_H
#define SESSION_H

#include "stream.h"

/* A running command. */
struct session_command {
	uint32_t id;	       /* id of the command's exec_request; 0 if the slot is free */
	uint32_t stdin_credit; /* number of bytes of input that the host may still send */
	bool beside;	       /* true if the command may run at the same time as other commands */
};

struct session {
	uint8_t state;	  /* state of the connection's conversation */
	uint32_t version; /* the version of the protocol that both sides speak */
	uint32_t last_id; /* highest id of an exec_request since the last hello */
	uint64_t frames_seen;
	uint64_t frames_refused;
	/* The running commands. The index of a command is its slot. A new command gets the lowest
	 * free slot, so a command that runs alone has slot 0. `used` is the highest slot of a
	 * running command plus 1; 0 if no command runs. Loops over the commands stop at `used`. */
	uint32_t used;
	struct session_command commands[SANDBOXD_MAX_COMMANDS];
	struct stream in;
};

enum session_event {
	SESSION_MORE,	 /* no complete frame is left: wait for more bytes */
	SESSION_FRAME,	 /* `frame` has arrived: handle it */
	SESSION_REFUSAL, /* `refusal` must be sent in answer to `frame` */
};

void session_init(struct session *session);

/* Returns the next event. If the caller must handle `frame` and the frame has an id, sets `slot` to
 * the slot of the frame's command. The command of an exec_request counts as running until the
 * caller calls `session_end`, or until the daemon has sent the `ready` message of a new session. */
enum session_event session_next(struct session *session, struct frame *frame, uint32_t *slot,
				struct sandboxd_error *refusal);

/* Records that the daemon has sent a message that is not about a command. `conditions` are the
 * conditions of the schema that the message satisfies. The message `ready` removes all commands,
 * because it begins a new session. */
void session_sent(struct session *session, enum sandboxd_type type, uint32_t conditions);

/* Records that a command has exited, or could not be started. */
void session_end(struct session *session, uint32_t slot);

/* Allows the host to send `amount` more bytes of standard input for a command. */
void session_allow(struct session *session, uint32_t slot, uint32_t amount);

#endif

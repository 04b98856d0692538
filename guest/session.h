/* The guest's side of a session: it checks which frames the host may send, and when. This module
 * does no I/O and reads no clock. The caller appends bytes from the host to `in`, and takes events
 * from `session_next`. The caller also reports when a command has exited, and when the command
 * accepts more input. */
#ifndef SESSION_H
#define SESSION_H

#include "stream.h"

struct session {
	uint8_t state;	       /* state of the connection's conversation */
	uint32_t version;      /* the version of the protocol that both sides speak */
	uint32_t last_id;      /* highest id of an exec_request since the last hello */
	uint32_t current;      /* id of the command that runs; 0 if there is none */
	uint32_t stdin_credit; /* number of bytes of input that the host may still send */
	uint64_t frames_seen;
	uint64_t frames_refused;
	struct stream in;
};

enum session_event {
	SESSION_MORE,	 /* no complete frame is left: wait for more bytes */
	SESSION_FRAME,	 /* `frame` has arrived: handle it */
	SESSION_REFUSAL, /* `refusal` must be sent in answer to `frame` */
};

void session_init(struct session *session);

/* Returns the next event. The command of an exec_request counts as running until the caller calls
 * `session_end`, or until a `hello` message begins a new session. */
enum session_event session_next(struct session *session, struct frame *frame,
				struct sandboxd_error *refusal);

/* Records that the daemon has sent a message that belongs to no command. `conditions` are those that
 * hold for it. */
void session_sent(struct session *session, enum sandboxd_type type, uint32_t conditions);

/* Records that the command has exited, or could not be started. */
void session_end(struct session *session);

/* Allows the host to send `amount` more bytes of standard input for the command. */
void session_allow(struct session *session, uint32_t amount);

#endif

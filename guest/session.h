/* The guest's side of the conversation: which frames have come, and which of them are in order. No
 * I/O and no clock here: bytes go in behind `in`, events come out of `session_next`, and only what
 * it cannot know, that a command has ended or takes more input, is told to it. */
#ifndef SESSION_H
#define SESSION_H

#include "stream.h"

struct session {
	uint32_t version;      /* of the protocol, that both sides speak */
	uint32_t last_id;      /* the highest that an exec_request has had since the last hello */
	uint32_t current;      /* the exec in flight; 0 when there is none */
	uint32_t stdin_credit; /* how much input the host may still send to it */
	uint64_t frames_seen;
	uint64_t frames_refused;
	struct stream in;
};

enum session_event {
	SESSION_MORE,	 /* nothing is left to do until more bytes come */
	SESSION_FRAME,	 /* `frame` is to be carried out */
	SESSION_REFUSAL, /* `refusal` is the answer, to `frame`'s header */
};

void session_init(struct session *session);

/* The next event. An exec_request that comes out is in flight until `session_end`; a hello has ended
 * whatever was. */
enum session_event session_next(struct session *session, struct frame *frame,
				struct sandboxd_error *refusal);

/* The exec in flight has ended, or could not be started. */
void session_end(struct session *session);

/* Allows the host to send so much more input. */
void session_allow(struct session *session, uint32_t amount);

#endif

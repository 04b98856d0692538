/* Answers the host: each frame's effect, and the frames that the command's end brings. */
#ifndef SERVE_H
#define SERVE_H

#include "exec.h"
#include "port.h"
#include "session.h"

struct server {
	bool is_init; /* PID 1: the whole machine is ours */
	bool shutdown;
	bool keep;	       /* the next hello keeps what runs, which is frozen */
	bool freezing;	       /* the next frame waits until that is so */
	bool renewing;	       /* a hello waits until what it killed has been reaped */
	uint64_t frozen_by_ns; /* a keep waits no longer */
	uint64_t nonce;
	uint64_t missed_ns; /* when the host was last found gone; 0 while it is there */
	uint64_t absent_ns; /* for how long it has been gone */
	struct sandboxd_status counters;
	struct session session;
	struct exec exec;
	struct port port;
};

void serve_init(struct server *server, bool is_init);

/* Handles the frames that have come. False when it stopped early, with frames left: their answers
 * found no room, a hello waits for the end of the session before it, or a keep has to be whole. */
bool serve_input(struct server *server);

/* Waits for every child that has ended, and sees whether what is waited for has come. */
void serve_children(struct server *server);

/* Queues output, and the command's end after it; `fds` are exec_pump's. */
void serve_output(struct server *server, const struct pollfd *fds);

/* Moves standard input on; `events` is what poll has said of its descriptor, or 0, and `waited` whether
 * all that it was to wait for has not come in its time. */
void serve_stdin(struct server *server, short events, bool waited);

/* Whether frames wait for what no event announces. */
bool serve_waits(const struct server *server);

/* Whether the next frame can be handled now. */
bool serve_wants_input(const struct server *server);

/* Whether standard input can be moved on now. */
bool serve_wants_stdin(const struct server *server);

/* Whether output of the command can be queued now. */
bool serve_wants_output(const struct server *server);

uint64_t serve_clock(void);

#endif

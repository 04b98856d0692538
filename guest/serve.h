/* Handles the frames from the host, and sends the output and the result of the command. */
#ifndef SERVE_H
#define SERVE_H

#include "exec.h"
#include "port.h"
#include "session.h"

struct server {
	bool is_init; /* true if the daemon is PID 1 of a machine */
	bool shutdown;
	bool keep;	       /* true if the next hello keeps the processes */
	bool freezing;	       /* true while the next frame waits until all processes are frozen */
	bool renewing;	       /* true while a hello waits until the killed processes are reaped */
	uint64_t frozen_by_ns; /* time at which a keep stops waiting for processes to freeze */
	uint64_t nonce;
	uint64_t missed_ns; /* time at which the port was last found closed; 0 while it is open */
	uint64_t absent_ns; /* time for which the port has been closed */
	struct sandboxd_status counters;
	struct session session;
	struct exec exec;
	struct port port;
};

void serve_init(struct server *server, bool is_init);

/* Handles the frames that have arrived. Returns false if it stops before all are handled: because
 * their answers do not fit into the queue, because a hello waits until killed processes are reaped,
 * or because a keep waits until processes are frozen. */
bool serve_input(struct server *server);

/* Reaps every child that has exited, and checks whether a hello or a keep still has to wait. */
void serve_children(struct server *server);

/* Queues output and, after all output, the result of the command. `fds` are passed to exec_pump. */
void serve_output(struct server *server, const struct pollfd *fds);

/* Writes standard input to the command and grants credit to the host. `events` is the result of
 * poll for the input's descriptor, or 0. `waited` is true if poll has timed out. */
void serve_stdin(struct server *server, short events, bool waited);

/* Returns whether frames wait for a hello or a keep, whose progress no event announces. */
bool serve_waits(const struct server *server);

/* Returns whether the next frame can be handled now. */
bool serve_wants_input(const struct server *server);

/* Returns whether standard input can be written and credit be granted now. */
bool serve_wants_stdin(const struct server *server);

/* Returns whether output of the command can be queued now. */
bool serve_wants_output(const struct server *server);

uint64_t serve_clock(void);

#endif

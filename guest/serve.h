/* Handles the frames from the host, and sends the output and the result of the command. */
#ifndef SERVE_H
#define SERVE_H

#include "exec.h"
#include "port.h"
#include "session.h"

struct server {
	bool is_init; /* true if the daemon is PID 1 of a machine */
	bool shutdown;
	bool keep;	       /* true if the next `hello` keeps the processes */
	bool freezing;	       /* true while the next frame waits until all processes are frozen */
	bool renewing;	       /* true while a `hello` waits until killed processes are reaped */
	uint64_t frozen_by_ns; /* time until which a `keep` waits for processes to freeze */
	uint64_t nonce;
	uint64_t missed_ns; /* time at which the port was last found closed; 0 while it is open */
	uint64_t absent_ns; /* time for which the port has been closed, in nanoseconds */
	struct sandboxd_status counters;
	struct session session;
	struct exec exec;
	struct port port;
};

void serve_init(struct server *server, bool is_init);

/* Handles the frames that have arrived. Returns false if it stops before the last one. That happens
 * if the answers do not fit into the queue, while a `hello` message waits until killed processes
 * are reaped, and while a `keep` message waits until processes are frozen. */
bool serve_input(struct server *server);

/* Reaps every child that has exited, and checks whether a `hello` or a `keep` message still has to
 * wait for processes. */
void serve_children(struct server *server);

/* Queues output of the command and, after the last output, the result of the command. `fds` are the
 * entries that exec_poll has set, after poll has returned. */
void serve_output(struct server *server, const struct pollfd *fds);

/* Writes standard input to the command, and grants credit for more to the host. `events` are the
 * events that poll has returned for the input's descriptor, or 0. `waited` is true if poll has
 * timed out. */
void serve_stdin(struct server *server, short events, bool waited);

/* Returns whether the next frame must wait, because a `hello` or a `keep` waits for processes. No
 * event announces that this wait is over. */
bool serve_waits(const struct server *server);

/* Returns whether the next frame can be handled now. */
bool serve_wants_input(const struct server *server);

/* Returns whether standard input can be written to the command, and credit be granted to the host,
 * now. */
bool serve_wants_stdin(const struct server *server);

/* Returns whether output of the command can be added to the queue now. */
bool serve_wants_output(const struct server *server);

uint64_t serve_clock(void);

#endif

/* Handles the frames from the host, and sends the output and the result of the command. */
#ifndef SERVE_H
#define SERVE_H

#include "exec.h"
#include "port.h"
#include "session.h"

struct server {
	bool is_init; /* true if the daemon is PID 1 of a machine */
	bool shutdown;
	/* True after a `keep` message: the next `hello` message then kills no processes. */
	bool keep;
	/* True while the processes that a `keep` message freezes are not all frozen. The next frame
	 * from the host waits until they are. */
	bool freezing;
	/* True while the processes that a `hello` message has killed are not all reaped. */
	bool renewing;
	/* Deadline for freezing the processes. After it, the daemon continues even if some of them
	 * are not frozen. */
	uint64_t frozen_by_ns;
	uint64_t nonce;
	uint64_t missed_ns; /* time at which the port was last found closed; 0 while it is open */
	uint64_t absent_ns; /* time for which the port has been closed, in nanoseconds */
	struct sandboxd_status counters;
	struct session session;
	struct exec exec;
	struct port port;
};

/* Queues a small frame to be sent to the host. `message` is the name of its message, and the other
 * arguments are the command's id, if the message has one, and the message itself. The caller must
 * have checked that the queue has room. */
#define SERVE_SEND(server, message, ...)                                             \
	((server)->port.end += sandboxd_encode_##message(port_tail(&(server)->port), \
							 PORT_SMALL_SIZE,            \
							 (server)->session.version, __VA_ARGS__))

void serve_init(struct server *server, bool is_init);

/* Handles the frames that have arrived. Returns false if it stops before the last one, because the
 * answers do not fit into the queue, or because a `hello` or `keep` message waits for processes. */
bool serve_input(struct server *server);

/* Reaps every child that has exited. Then checks whether the daemon must still wait for processes,
 * as serve_waits tells. */
void serve_children(struct server *server);

/* Queues output of the command to be sent to the host and, after the last output, the result of the
 * command. `fds` are the entries that exec_poll has set, after poll has returned. */
void serve_output(struct server *server, const struct pollfd *fds);

/* Writes standard input to the command, and lets the host send more input. `events` are the events
 * that poll has returned for the input's descriptor, or 0. `waited` is true if poll has timed
 * out. */
void serve_stdin(struct server *server, short events, bool waited);

/* Returns whether the next frame from the host must wait until the processes that a `hello` message
 * has killed are reaped, or until the processes that a `keep` message freezes are frozen. No event
 * announces that this wait is over, so the main loop checks it in every turn. */
bool serve_waits(const struct server *server);

/* Returns whether the next frame from the host can be handled now. */
bool serve_wants_input(const struct server *server);

/* Returns whether the daemon can now write standard input to the command, and let the host send
 * more input. */
bool serve_wants_stdin(const struct server *server);

/* Returns whether output of the command can be queued now to be sent to the host. */
bool serve_wants_output(const struct server *server);

uint64_t serve_clock(void);

/* Opens the files that `resume` writes to. Must be called once, before `resume`. */
void resume_init(void);

/* Sets the clock, and adds entropy from the host to the pool of the kernel. If `renewed` is true,
 * replaces the boot id and the machine id, too. */
void resume(const struct sandboxd_resume *given, bool renewed);

/* Counts the resources that the daemon holds, so that the host can check it for leaks
 * (status.c). */
void status_fill(struct sandboxd_status *status);

#endif

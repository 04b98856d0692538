/* Handles the frames from the host, and sends the output and the results of the commands. */
#ifndef SERVE_H
#define SERVE_H

#include "exec.h"
#include "port.h"
#include "session.h"

/* Indices of the entries that the main loop passes to poll. The entries from SERVE_COMMANDS on
 * belong to the commands: EXEC_POLLED for each command, in the order of the slots. */
enum {
	SERVE_PORT,
	SERVE_SIGNALS,
	SERVE_DRAINS,
	SERVE_COMMANDS,
	SERVE_POLLED = SERVE_COMMANDS + SANDBOXD_MAX_COMMANDS * EXEC_POLLED,
};

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
	/* Time until which the daemon leaves output of commands in their pipes, so that more output
	 * collects there; 0 if no output collects. */
	uint64_t collected_ns;
	uint32_t turn; /* slot of the command that may send output next */
	struct exec execs[SANDBOXD_MAX_COMMANDS];
	struct pollfd polled[SERVE_POLLED];
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

/* Queues a frame of output of a command. After the last output of a command, queues its result. The
 * queue contains at most one frame of output. The commands take turns: the next frame contains
 * output of the next command that has some. */
void serve_output(struct server *server);

/* Writes standard input to the commands, and gives the host credit for more input. `waited` is true
 * if poll has timed out. */
void serve_stdin(struct server *server, bool waited);

/* Sets the entries for poll of all commands. Returns the number of entries to pass to poll, which
 * include the entries before SERVE_COMMANDS. */
unsigned serve_poll(struct server *server);

/* Returns the maximum time for which poll may wait without delaying a command, in milliseconds; -1
 * for no limit. */
int serve_timeout_ms(const struct server *server);

/* Returns the shorter of two timeouts for poll. A timeout of -1 means no limit. */
static inline int serve_sooner(int one, int other)
{
	return (unsigned)one < (unsigned)other ? one : other;
}

/* Updates the commands after poll has returned. `waited` is true if poll has timed out. */
void serve_polled(struct server *server, bool waited);

/* Returns whether the next frame from the host must wait until the processes that a `hello` message
 * has killed are reaped, or until the processes that a `keep` message freezes are frozen. No event
 * announces that this wait is over, so the main loop checks it in every turn. */
bool serve_waits(const struct server *server);

/* Returns whether the next frame from the host can be handled now. */
bool serve_wants_input(const struct server *server);

/* Kills all commands. */
void serve_kill(struct server *server);

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

/* The one command in flight: its start, its output, its end. */
#ifndef EXEC_H
#define EXEC_H

#include <poll.h>
#include <sys/types.h>

#include "input.h"
#include "port.h"
#include "protocol.h"
#include "spawn.h"

/* A command that writes little at a time would wake us for each write, and each would become a frame
 * and an exit to the host. So after a read that emptied a pipe, output coalesces: the pipes are
 * left alone, and what follows gathers. What comes after a silence is never held up. */
enum { EXEC_STREAMS = 2, EXEC_COALESCE_MS = 1 };

/* What we read of the command's: the end of a pipe, or its terminal. */
struct exec_stream {
	int fd;	    /* -1 when closed */
	int theirs; /* the pipe's other end; -1 of a terminal */
	uint32_t credit;
	bool large;  /* the pipe has been enlarged */
	bool last;   /* the command has ended: at most `left` more will be sent */
	size_t left; /* bytes, counts only when `last` */
};

struct exec {
	uint32_t id;	 /* 0 when none is in flight */
	pid_t pid;	 /* 0 once reaped */
	pid_t group;	 /* its process group, which can outlive it */
	int status;	 /* as waitpid gives it */
	bool coalescing; /* neither poll its pipes nor read them now */
	bool terminal;
	bool terminated;    /* its end is everything's end */
	bool killed;	    /* its end waits for neither credit nor silence */
	uint64_t silent_ns; /* when a terminal whose command has ended counts as silent */
	struct input input;
	struct exec_stream streams[EXEC_STREAMS];
};

/* Starts a command. The request's strings are terminated in place, inside `frame`. */
struct spawn_failure exec_start(struct exec *exec, uint32_t id,
				const struct sandboxd_exec_request *request, uint8_t *frame);

/* Asks the command to end; what is left when its process has ended is killed then. */
void exec_terminate(struct exec *exec);
void exec_signal(const struct exec *exec, int signal);
void exec_add_credit(struct exec *exec, enum sandboxd_stream stream, uint32_t amount);

/* Notes that waitpid has returned this process. */
void exec_reaped(struct exec *exec, pid_t pid, int status, uint64_t now_ns);

/* Which of its pipes to wait for; two entries. None while the port is busy, since exec_pump would
 * leave them as they are. */
void exec_poll(const struct exec *exec, bool busy, struct pollfd *fds);

/* Queues one frame of output if the port is idle, there is some, and it is paid for; `fds` are what
 * exec_poll asked for, with what poll has said. */
void exec_pump(struct exec *exec, struct port *port, uint32_t version, uint64_t now_ns,
	       const struct pollfd *fds);

/* Whether the command has ended and exec_pump has left nothing of its output. */
bool exec_done(const struct exec *exec, const struct port *port, uint64_t now_ns);

/* Forgets the command. Its pipes go on being read, to nowhere, for those that it left behind. */
void exec_clear(struct exec *exec);

/* Kills the command with all that it has started; its end waits for no credit any more. */
void exec_kill(struct exec *exec);

/* Changes the size of its terminal, if it has one. */
void exec_resize(const struct exec *exec, uint16_t rows, uint16_t columns);

/* How long to wait for output at most, in milliseconds; -1 for ever. */
int exec_timeout_ms(const struct exec *exec, uint64_t now_ns);

#endif

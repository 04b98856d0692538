/* Runs the current command: its start, its output and its exit. There is at most one at a time. */
#ifndef EXEC_H
#define EXEC_H

#include <poll.h>
#include <sys/types.h>

#include "input.h"
#include "port.h"
#include "protocol.h"
#include "spawn.h"

/* A command that writes little at a time would wake the daemon for each write, and each write would
 * cost a frame and an exit to the host. So after a read that has emptied a pipe, the daemon leaves
 * the pipes alone for EXEC_COALESCE_MS, while further output collects in them. The first output
 * after a pause is not delayed. */
enum { EXEC_STREAMS = 2, EXEC_COALESCE_MS = 1 };

/* An output stream of the command: the read end of a pipe, or the master of its terminal. */
struct exec_stream {
	int fd;	    /* the read end of the pipe, or the terminal; -1 if it is closed */
	int theirs; /* the write end of the pipe; -1 for a terminal */
	uint32_t credit;
	bool large;  /* true if the pipe was enlarged */
	bool last;   /* true if the command has exited, so that at most `left` bytes are sent */
	size_t left; /* number of bytes that may still be sent; valid only if `last` */
};

struct exec {
	uint32_t id;	 /* id of the exec; 0 if there is no command */
	pid_t pid;	 /* process id; 0 after it was reaped */
	pid_t group;	 /* its process group, which can outlive it */
	int status;	 /* exit status, as waitpid returns it */
	bool coalescing; /* true while the pipes are not polled or read */
	bool terminal;
	bool terminated;    /* true if all processes of the command are killed when it exits */
	bool killed;	    /* true if the end waits neither for credit nor for silence */
	uint64_t silent_ns; /* time from which the terminal counts as silent after the exit */
	struct input input;
	struct exec_stream streams[EXEC_STREAMS];
};

/* Starts a command. The strings of the request are terminated in place, inside `frame`. */
struct spawn_failure exec_start(struct exec *exec, uint32_t id,
				const struct sandboxd_exec_request *request, uint8_t *frame);

/* Sends SIGTERM to the command. When the command has exited, every process that it left is
 * killed. */
void exec_terminate(struct exec *exec);
void exec_signal(const struct exec *exec, int signal);
void exec_add_credit(struct exec *exec, enum sandboxd_stream stream, uint32_t amount);

/* Records the exit of a process that waitpid has returned, if it is the process of the command. */
void exec_reaped(struct exec *exec, pid_t pid, int status, uint64_t now_ns);

/* Sets `fds`, which has EXEC_STREAMS entries, to the pipes to wait for. There are none while the
 * port is busy, because exec_pump would not read them. */
void exec_poll(const struct exec *exec, bool busy, struct pollfd *fds);

/* Queues one frame of output if the port is idle and a stream has both output and credit. `fds` are
 * the entries that exec_poll has set, after poll has returned. */
void exec_pump(struct exec *exec, struct port *port, uint32_t version, uint64_t now_ns,
	       const struct pollfd *fds);

/* Returns whether the command has exited and exec_pump has queued all its output. */
bool exec_done(const struct exec *exec, const struct port *port, uint64_t now_ns);

/* Forgets the command. Processes that it left behind may still write to its pipes, so the pipes are
 * read and the output is discarded. */
void exec_clear(struct exec *exec);

/* Kills the command and every process that it started. Output without credit is then discarded. */
void exec_kill(struct exec *exec);

/* Changes the size of the command's terminal, if it has one. */
void exec_resize(const struct exec *exec, uint16_t rows, uint16_t columns);

/* Returns the maximum time to wait for output, in milliseconds; -1 for no limit. */
int exec_timeout_ms(const struct exec *exec, uint64_t now_ns);

#endif

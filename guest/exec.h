/* Runs commands: starts a command (start.c), sends its output to the host and handles its exit. */
#ifndef EXEC_H
#define EXEC_H

#include <poll.h>
#include <sys/types.h>

#include "cgroup.h"
#include "input.h"
#include "port.h"
#include "protocol.h"
#include "spawn.h"

/* EXEC_STREAMS is the number of output streams: standard output and standard error.
 * EXEC_COALESCE_MS is the time in milliseconds that the daemon waits after a read that has emptied
 * a pipe, so that further output collects. Otherwise each small write of a command would cost a
 * frame and an exit to the host. After a longer silence, output is sent at once. */
enum { EXEC_STREAMS = 2, EXEC_COALESCE_MS = 1 };

/* Each command has EXEC_POLLED entries in the array for poll: EXEC_INPUT is the index of the entry
 * for its input. The entries for its output streams begin at EXEC_OUTPUT. */
enum { EXEC_INPUT, EXEC_OUTPUT, EXEC_POLLED = EXEC_OUTPUT + EXEC_STREAMS };

/* An output stream of the command: the read end of a pipe, or the master of its terminal. */
struct exec_stream {
	int fd;		 /* read end of the pipe, or the terminal's master; -1 if it is closed */
	int theirs;	 /* the daemon's copy of the pipe's write end; -1 for a terminal */
	uint32_t credit; /* number of bytes that the host still lets the daemon send */
	bool large;	 /* true if the pipe was enlarged */
	bool last;	 /* true after the command's exit: at most `left` more bytes are sent */
	size_t left;	 /* number of bytes of output that may still be sent, if `last` is true */
};

struct exec {
	uint32_t id;	 /* id of the command's exec_request; 0 if the slot is free */
	uint32_t slot;	 /* index of the command in all tables of running commands */
	pid_t pid;	 /* process id of the command; 0 after it was reaped */
	pid_t group;	 /* process group of the command, which can outlive the process */
	int status;	 /* exit status of the command, as waitpid returns it */
	bool coalescing; /* true during EXEC_COALESCE_MS, while output collects in the pipes */
	bool terminal;
	bool terminated; /* true if processes that the command leaves behind must be killed */
	/* True after exec_kill. The daemon then sends the result of the command without waiting for
	 * credit from the host, or for more output of a terminal. */
	bool killed;
	/* Time at which the terminal's output counts as complete, unless more output arrives. */
	uint64_t silent_ns;
	uint8_t turn; /* the stream to read first next time, so that both streams take turns */
	struct cgroup *cgroup;
	struct input input;
	struct exec_stream streams[EXEC_STREAMS];
};

/* Starts the command of an exec_request in a free slot. Writes a NUL behind each string of the
 * request, into the `frame` from which the request was decoded. */
struct spawn_failure exec_start(struct exec *exec, uint32_t slot, uint32_t id,
				const struct sandboxd_exec_request *request, uint8_t *frame);

/* Sends SIGTERM to the command. When the command has exited, kills every process that it has left
 * behind. */
void exec_terminate(struct exec *exec);
void exec_signal(const struct exec *exec, int signal);
void exec_add_credit(struct exec *exec, enum sandboxd_stream stream, uint32_t amount);

/* Records that waitpid has returned the process `pid`. This changes nothing if `pid` is not the
 * process of the command. */
void exec_reaped(struct exec *exec, pid_t pid, int status, uint64_t now_ns);

/* Sets the EXEC_POLLED entries of `fds` to the streams for which poll must wait, and all other
 * entries to the descriptor -1. `takes_input` is true if the daemon can write input to the command
 * now. `busy` is true if the port still has frames to send. In this case, exec_pump reads no
 * output, so poll must not wait for output. */
void exec_poll(const struct exec *exec, bool takes_input, bool busy, struct pollfd *fds);

/* Queues one frame of output if no other frame waits in the queue of the port, and if a stream has
 * both output and credit (the host lets the daemon send more of it). Returns whether it has queued
 * a frame. `fds` are the entries that exec_poll has set and poll has updated. */
bool exec_pump(struct exec *exec, struct port *port, uint32_t version, uint64_t now_ns,
	       const struct pollfd *fds);

/* Returns whether the command has exited and exec_pump has queued all its output. */
bool exec_done(const struct exec *exec, const struct port *port, uint64_t now_ns);

/* Forgets a command that has ended. Processes that it left behind may still write to its pipes, so
 * the daemon continues to read these pipes and discards the output. */
void exec_clear(struct exec *exec);

/* Kills the command and every process that it started. Output beyond the host's credit is then
 * discarded. */
void exec_kill(struct exec *exec);

/* Changes the size of the command's terminal, if it has one. */
void exec_resize(const struct exec *exec, uint16_t rows, uint16_t columns);

/* Returns the maximum time that poll may wait, in milliseconds; -1 for no limit. After this time,
 * the terminal's output may count as complete, so the caller must check exec_done again. */
int exec_timeout_ms(const struct exec *exec, uint64_t now_ns);

#endif

#define _GNU_SOURCE /* makes the headers declare F_SETPIPE_SZ */
#include "exec.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include "drain.h"

/* CHUNK is the maximum number of bytes of output in a frame, and PREFIX the size of the rest of the
 * frame. The driver virtio_console sends at most 32 KiB at a time (port_fops_write in
 * drivers/char/virtio_console.c), and each time costs an exit to the host. So the largest frame has
 * exactly 64 KiB, for two such exits. A command that fills a frame gets a pipe of LARGE_PIPE bytes,
 * so that it can continue to write while its output collects. In the slots from 16 on, the large
 * pipe has only half as many bytes, from 32 on a quarter, and from 48 on an eighth. If a command
 * never fills a frame, its pipe keeps 64 KiB. So the output pipes of all commands together hold at
 * most 60 MiB, which count as memory of the commands, and the input pipes less than 10 MiB. */
enum {
	PREFIX = SANDBOXD_HEADER_SIZE + SANDBOXD_EXEC_OUTPUT_DATA_PREFIX,
	CHUNK = 2 * 32768 - PREFIX,
	LARGE_PIPE = 1 << 20,
	SLOTS_OF_A_SIZE = 16, /* successive slots whose large pipes have the same size */
};
_Static_assert((int)CHUNK <= (int)SANDBOXD_EXEC_OUTPUT_DATA_MAX, "a chunk fits into its message");

/* Time without output after which the daemon assumes that the terminal of a command that has exited
 * has no more output. Output can arrive after the exit, because data that is written to a terminal
 * passes through a queue of the kernel (flush_to_ldisc in tty_buffer.c). */
#define SILENCE_NS 100000000ULL

/* More bytes of output than the kernel can hold for a terminal: 8192 in the terminal's queue
 * (pty_common_install in drivers/tty/pty.c), up to one page by which the queue may exceed this
 * limit, and 4096 in the buffer behind the queue (N_TTY_BUF_SIZE in n_tty.c). */
enum { TERMINAL_HOLDS = 16384 };

static void close_file(int fd)
{
	if (fd >= 0)
		close(fd);
}

void exec_signal(const struct exec *exec, int signal)
{
	if (exec->pid > 0)
		kill(-exec->pid, signal);
}

void exec_terminate(struct exec *exec)
{
	exec->terminated = true;
	exec_signal(exec, SIGTERM);
}

static void kill_all(const struct exec *exec)
{
	siginfo_t member;

	/* Kill both the cgroup and the process group, because processes of root can leave the
	 * cgroup, and any process can leave the process group. Kill the process group only if it
	 * contains a child of the daemon, because otherwise its number may belong to another group
	 * by now. */
	cgroup_kill(exec->cgroup);
	if (waitid(P_PGID, (id_t)exec->group, &member, WEXITED | WNOHANG | WNOWAIT) == 0)
		kill(-exec->group, SIGKILL);
}

void exec_kill(struct exec *exec)
{
	if (!exec->id)
		return;
	exec->killed = true;
	if (exec->terminal)
		exec->streams[0].left = TERMINAL_HOLDS;
	kill_all(exec);
}

void exec_resize(const struct exec *exec, uint16_t rows, uint16_t columns)
{
	const struct winsize size = { .ws_row = rows, .ws_col = columns };

	if (exec->terminal && exec->streams[0].fd >= 0)
		ioctl(exec->streams[0].fd, TIOCSWINSZ, &size);
}

void exec_add_credit(struct exec *exec, enum sandboxd_stream stream, uint32_t amount)
{
	struct exec_stream *to = &exec->streams[stream - SANDBOXD_STREAM_STDOUT];

	to->credit = amount > UINT32_MAX - to->credit ? UINT32_MAX : to->credit + amount;
}

void exec_reaped(struct exec *exec, pid_t pid, int status, uint64_t now_ns)
{
	if (pid != exec->pid)
		return;
	if (exec->terminated)
		kill_all(exec);
	exec->pid = 0;
	exec->coalescing = false;
	exec->status = status;
	exec->silent_ns = now_ns + SILENCE_NS;
	input_close(&exec->input);
	for (int i = 0; i < EXEC_STREAMS; i++) {
		struct exec_stream *stream = &exec->streams[i];
		int left = 0;

		if (stream->fd >= 0)
			ioctl(stream->fd, FIONREAD, &left);
		stream->last = true;
		if (exec->terminal)
			stream->left = exec->killed ? TERMINAL_HOLDS : SIZE_MAX;
		else
			stream->left = left > 0 ? (size_t)left : 0;
	}
}

static bool wanted(const struct exec_stream *stream)
{
	return stream->fd >= 0 && stream->credit > 0 && !(stream->last && stream->left == 0);
}

void exec_poll(const struct exec *exec, bool takes_input, bool busy, struct pollfd *fds)
{
	bool listens = exec->id && !busy && !exec->coalescing;

	fds[EXEC_INPUT] = exec->id && takes_input ? input_poll(&exec->input) :
						    (struct pollfd){ .fd = -1 };
	for (int i = 0; i < EXEC_STREAMS; i++)
		fds[EXEC_OUTPUT + i] = (struct pollfd){
			.fd = listens && wanted(&exec->streams[i]) ? exec->streams[i].fd : -1,
			.events = POLLIN,
		};
}

/* Reads up to `size` bytes of the command's output from a stream, and closes the stream at end of
 * file. Returns the number of bytes. */
static uint32_t read_stream(struct exec_stream *stream, uint8_t *into, size_t size)
{
	ssize_t n = read(stream->fd, into, size);

	if (n > 0)
		return (uint32_t)n;
	if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
		close(stream->fd);
		stream->fd = -1;
	}
	return 0;
}

/* Enlarges an output pipe of a command. The size depends on the slot; see LARGE_PIPE. Returns false
 * if the kernel refuses. */
static bool enlarge(int pipe, uint32_t slot)
{
	return fcntl(pipe, F_SETPIPE_SZ, LARGE_PIPE >> (slot / SLOTS_OF_A_SIZE)) >= 0;
}

static bool pump(struct exec *exec, int number, struct port *port, uint32_t version)
{
	struct exec_stream *stream = &exec->streams[number];
	uint8_t *frame = port_tail(port);
	size_t size = CHUNK < stream->credit ? (size_t)CHUNK : stream->credit;

	if (stream->last && stream->left < size)
		size = stream->left;
	/* Read the output directly to its position in the frame, so that encoding the frame does
	 * not copy it. */
	struct sandboxd_exec_output output = {
		.stream = (uint8_t)(number + SANDBOXD_STREAM_STDOUT),
		.data = { frame + PREFIX, read_stream(stream, frame + PREFIX, size) },
	};

	if (output.data.size == 0) {
		/* If the command has exited, an empty pipe gets no more of its output, so set
		 * `left` to 0. It was above 0 if another process has read from the pipe. A terminal
		 * can get more output, from the kernel's queue. */
		if (!exec->terminal || exec->killed)
			stream->left = 0;
		return false;
	}
	if (output.data.size == CHUNK && !stream->large)
		stream->large = enlarge(stream->fd, exec->slot);
	exec->coalescing = exec->pid && output.data.size < size;
	stream->credit -= output.data.size;
	stream->left -= stream->last ? output.data.size : 0;
	port->end += sandboxd_encode_exec_output(frame, PORT_LARGE_SIZE, version, exec->id,
						 &output);
	return true;
}

/* Returns whether poll has found that an output stream has no data. The result is always false
 * after the exit of the command, because its streams are then read without poll. */
static bool is_empty(const struct exec_stream *stream, struct pollfd polled)
{
	return !stream->last && polled.fd >= 0 && !polled.revents;
}

bool exec_pump(struct exec *exec, struct port *port, uint32_t version, uint64_t now_ns,
	       const struct pollfd *fds)
{
	for (int i = 0; i < EXEC_STREAMS && exec->id && !exec->coalescing && port_idle(port); i++) {
		int number = (exec->turn + i) % EXEC_STREAMS;
		const struct exec_stream *stream = &exec->streams[number];

		if (wanted(stream) && !is_empty(stream, fds[EXEC_OUTPUT + number]) &&
		    pump(exec, number, port, version)) {
			exec->turn = (uint8_t)number + 1;
			exec->silent_ns = now_ns + SILENCE_NS;
			return true;
		}
	}
	return false;
}

/* Returns whether an output stream has data that cannot be sent now, because the daemon has used up
 * its credit, which is the number of bytes that the host lets it send. */
static bool is_unpaid(const struct exec_stream *stream)
{
	struct pollfd readable = { .fd = stream->fd, .events = POLLIN };

	return stream->credit == 0 && poll(&readable, 1, 0) > 0 && (readable.revents & POLLIN);
}

/* Returns whether the terminal of a command that has exited has no more output. A terminal has no
 * end of file while any process has it open, so the output counts as complete after SILENCE_NS
 * without output. */
static bool is_silent(const struct exec *exec, const struct port *port, uint64_t now_ns)
{
	return exec->terminal && port_idle(port) && now_ns >= exec->silent_ns &&
	       !is_unpaid(&exec->streams[0]);
}

/* Returns whether a stream of a command that has exited may have output that is still to be
 * sent. */
static bool has_output_left(const struct exec *exec, const struct exec_stream *stream)
{
	return stream->fd >= 0 && stream->left > 0 && !(exec->killed && stream->credit == 0);
}

bool exec_done(const struct exec *exec, const struct port *port, uint64_t now_ns)
{
	if (!exec->id || exec->pid)
		return false;
	for (int i = 0; i < EXEC_STREAMS; i++)
		if (has_output_left(exec, &exec->streams[i]))
			return is_silent(exec, port, now_ns);
	return true;
}

int exec_timeout_ms(const struct exec *exec, uint64_t now_ns)
{
	if (!exec->id || exec->pid || !exec->terminal || is_unpaid(&exec->streams[0]))
		return -1;
	if (exec->killed || now_ns >= exec->silent_ns)
		return 0;
	return (int)((exec->silent_ns - now_ns) / 1000000) + 1;
}

void exec_clear(struct exec *exec)
{
	if (!exec->id)
		return;
	for (int i = 0; i < EXEC_STREAMS; i++) {
		close_file(exec->streams[i].theirs);
		if (exec->streams[i].fd >= 0)
			drain_add(exec->streams[i].fd);
	}
	input_close(&exec->input);
	cgroup_renew(exec->cgroup);
	*exec = (struct exec){ 0 };
}

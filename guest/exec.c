#define _GNU_SOURCE /* pipe2, F_SETPIPE_SZ */
#include "exec.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "drain.h"
#include "environment.h"

/* virtio_console sends at most 32 KiB a write (port_fops_write in drivers/char/virtio_console.c),
 * and each write costs an exit to the host: a full frame is two full writes. A command that fills
 * one at a time gets a pipe that goes on taking from it while it rests. */
enum {
	PREFIX = SANDBOXD_HEADER_SIZE + SANDBOXD_EXEC_OUTPUT_DATA_PREFIX,
	CHUNK = 2 * 32768 - PREFIX,
	LARGE_PIPE = 1 << 20,
};
_Static_assert((int)CHUNK <= (int)SANDBOXD_EXEC_OUTPUT_DATA_MAX, "a chunk fits into its message");

static bool make_pipe(int ends[2])
{
	if (pipe2(ends, O_CLOEXEC) < 0)
		return false;
	/* Only our end: the command's is as it expects a pipe to be. */
	return fcntl(ends[0], F_SETFL, O_NONBLOCK) == 0;
}

static void close_pipe(const int ends[2])
{
	close(ends[0]);
	close(ends[1]);
}

static struct exec_stream stream_of(int fd, uint32_t credit)
{
	return (struct exec_stream){ .fd = fd, .credit = credit };
}

struct spawn_failure exec_start(struct exec *exec, uint32_t id,
				const struct sandboxd_exec_request *request, uint8_t *frame)
{
	struct spawn_failure failure = { SANDBOXD_STAGE_PIPE, 0 };
	struct environment environment = environment_of(request, frame);
	int out[2], err[2];
	pid_t pid;

	if (!make_pipe(out)) {
		failure.error = errno;
		return failure;
	}
	if (!make_pipe(err)) {
		failure.error = errno;
		close_pipe(out);
		return failure;
	}
	failure = spawn(&environment, out[1], err[1], &pid);
	close(out[1]);
	close(err[1]);
	if (failure.stage) {
		close(out[0]);
		close(err[0]);
		return failure;
	}
	*exec = (struct exec){
		.id = id,
		.pid = pid,
		.streams = { stream_of(out[0], request->stdout_credit),
			     stream_of(err[0], request->stderr_credit) },
	};
	return failure;
}

void exec_signal(const struct exec *exec, int signal)
{
	if (exec->pid > 0)
		kill(-exec->pid, signal);
}

void exec_kill(const struct exec *exec)
{
	exec_signal(exec, SIGKILL);
}

void exec_add_credit(struct exec *exec, enum sandboxd_stream stream, uint32_t amount)
{
	struct exec_stream *to = &exec->streams[stream - SANDBOXD_STREAM_STDOUT];

	to->credit = amount > UINT32_MAX - to->credit ? UINT32_MAX : to->credit + amount;
}

void exec_reaped(struct exec *exec, pid_t pid, int status)
{
	if (pid != exec->pid)
		return;
	exec->pid = 0;
	exec->rests = false;
	exec->status = status;
	for (int i = 0; i < EXEC_STREAMS; i++) {
		struct exec_stream *stream = &exec->streams[i];
		int left = 0;

		if (stream->fd >= 0)
			ioctl(stream->fd, FIONREAD, &left);
		stream->last = true;
		stream->left = left > 0 ? (size_t)left : 0;
	}
}

static bool wanted(const struct exec_stream *stream)
{
	return stream->fd >= 0 && stream->credit > 0 && !(stream->last && stream->left == 0);
}

void exec_poll(const struct exec *exec, bool busy, struct pollfd *fds)
{
	bool listens = exec->id && !busy && !exec->rests;

	for (int i = 0; i < EXEC_STREAMS; i++)
		fds[i] = (struct pollfd){
			.fd = listens && wanted(&exec->streams[i]) ? exec->streams[i].fd : -1,
			.events = POLLIN,
		};
}

/* Reads up to `size` bytes of output; closes the stream at its end. */
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

static bool pump(struct exec *exec, int number, struct port *port)
{
	struct exec_stream *stream = &exec->streams[number];
	uint8_t *frame = port_tail(port);
	size_t size = CHUNK < stream->credit ? (size_t)CHUNK : stream->credit;

	if (stream->last && stream->left < size)
		size = stream->left;
	/* Straight to its place in the frame, so that encoding need not copy it. */
	struct sandboxd_exec_output output = {
		.stream = (uint8_t)(number + SANDBOXD_STREAM_STDOUT),
		.data = { frame + PREFIX, read_stream(stream, frame + PREFIX, size) },
	};

	if (output.data.size == 0) {
		stream->left = 0; /* somebody in the guest has read what was there */
		return false;
	}
	if (output.data.size == CHUNK && !stream->large)
		stream->large = fcntl(stream->fd, F_SETPIPE_SZ, LARGE_PIPE) >= 0;
	exec->rests = exec->pid && output.data.size < size;
	stream->credit -= output.data.size;
	stream->left -= stream->last ? output.data.size : 0;
	port->end += sandboxd_encode_exec_output(frame, exec->id, &output);
	return true;
}

void exec_pump(struct exec *exec, struct port *port)
{
	static int turn; /* the stream that was not served last comes first */

	for (int i = 0; i < EXEC_STREAMS && exec->id && !exec->rests && port_idle(port); i++) {
		int number = (turn + i) % EXEC_STREAMS;

		if (wanted(&exec->streams[number]) && pump(exec, number, port))
			turn = number + 1;
	}
}

bool exec_done(const struct exec *exec)
{
	if (!exec->id || exec->pid)
		return false;
	for (int i = 0; i < EXEC_STREAMS; i++)
		if (exec->streams[i].fd >= 0 && exec->streams[i].left > 0)
			return false;
	return true;
}

void exec_clear(struct exec *exec)
{
	for (int i = 0; i < EXEC_STREAMS; i++)
		if (exec->id && exec->streams[i].fd >= 0)
			drain_add(exec->streams[i].fd);
	*exec = (struct exec){ 0 };
}

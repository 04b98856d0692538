#define _GNU_SOURCE /* F_GETPIPE_SZ */
#include "input.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

/* One buffer suffices, because there is one command at a time. */
static uint8_t waiting[INPUT_SIZE];

/* The character VEOF of a new terminal (termios(3)), twice: in the middle of a line, the first one
 * only ends the line. */
static const uint8_t end_of_file[] = { 4, 4 };

/* Returns the capacity of a pipe. For a terminal, returns INPUT_SIZE. */
static uint32_t size_of(const struct input *input)
{
	int size = input->is_terminal ? -1 : fcntl(input->fd, F_GETPIPE_SZ);

	return size > 0 ? (uint32_t)size : INPUT_SIZE;
}

void input_open(struct input *input, int fd, bool is_terminal)
{
	*input = (struct input){ .fd = fd, .is_terminal = is_terminal };
	input->pipe = size_of(input);
}

void input_close(struct input *input)
{
	if (input->fd >= 0)
		close(input->fd);
	input->fd = -1;
	input->size = 0;
}

static void refuse(struct input *input)
{
	input->refused = true;
	/* Do not close a terminal, because that would hang up a command that has only closed its
	 * descriptors of it. */
	if (!input->is_terminal)
		input_close(input);
	input->ended = true;
	input->size = 0;
}

/* Writes data without blocking, and returns the number of bytes that were written. */
static uint32_t pass(struct input *input, const uint8_t *data, uint32_t size)
{
	ssize_t n = write(input->fd, data, size);

	if (n < 0 && errno != EAGAIN && errno != EINTR)
		refuse(input);
	return n < 0 ? 0 : (uint32_t)n;
}

/* Keeps data that cannot be written yet. The credit of the host leaves room for it, and for the end
 * of file of a terminal. */
static void keep(struct input *input, const uint8_t *data, uint32_t size)
{
	memcpy(waiting + input->start + input->size, data, size);
	input->size += size;
}

void input_add(struct input *input, struct sandboxd_slice data)
{
	if (input->fd < 0 || input->ended)
		return;
	if (data.size == 0) {
		input->ended = true;
		if (input->is_terminal)
			keep(input, end_of_file, sizeof end_of_file);
		return;
	}
	/* If no older data waits, write the new data directly instead of copying it to the
	 * buffer. */
	uint32_t passed = input->size ? 0 : pass(input, data.data, data.size);

	if (!input->ended)
		keep(input, data.data + passed, data.size - passed);
}

struct pollfd input_poll(const struct input *input)
{
	/* Without events, poll still reports that the reader has gone. After the end of the input,
	 * this no longer matters. */
	return (struct pollfd){ .fd = input->ended && !input->size ? -1 : input->fd,
				.events = input->size || input->full ? POLLOUT : 0 };
}

static void write_on(struct input *input)
{
	uint32_t n = 1;

	while (n > 0 && input->size > 0) {
		n = pass(input, waiting + input->start, input->size);
		input->start += n;
		input->size -= n;
	}
	if (input->size == 0)
		input->start = 0;
}

void input_run(struct input *input, short events)
{
	/* The pipe has no reader any more, or no process has the terminal open. */
	if (input->fd >= 0 && (events & (input->is_terminal ? POLLHUP : POLLERR)))
		refuse(input);
	write_on(input);
	if (input->ended && input->size == 0 && !input->is_terminal)
		input_close(input);
}

/* Returns the number of bytes that can be written now, at most as many as fit into the buffer. */
static uint32_t free_space(struct input *input)
{
	uint32_t most = INPUT_SIZE - (uint32_t)sizeof end_of_file;
	unsigned held = 0;

	if (!input->is_terminal)
		ioctl(input->fd, FIONREAD, &held);
	/* Another process that has the pipe open may have changed its capacity. */
	if (held >= input->pipe)
		input->pipe = size_of(input);
	uint32_t space = held < input->pipe ? input->pipe - held : 0;

	return space < most ? space : most;
}

uint32_t input_room(struct input *input, uint32_t allowed, bool waited)
{
	input->full = input->withheld = false;
	/* Give credit only while no data waits, so that new data starts at the beginning of the
	 * buffer. */
	if (input->fd < 0 || input->ended || input->size > 0)
		return 0;
	uint32_t space = free_space(input),
		 much = (input->pipe < INPUT_SIZE ? input->pipe : INPUT_SIZE) / 2;
	uint32_t room = space > allowed ? space - allowed : 0;

	input->full = space == 0;
	input->withheld = room > 0 && room < much && allowed < much && !waited;
	return room >= much || (allowed < much && waited) ? room : 0;
}

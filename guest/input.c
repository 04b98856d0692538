#define _GNU_SOURCE /* F_GETPIPE_SZ */
#include "input.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

/* There is one command, and so one buffer. */
static uint8_t waiting[INPUT_SIZE];

/* VEOF of a new terminal, termios(3): in the middle of a line the first one only ends the line. */
static const uint8_t end_of_file[] = { 4, 4 };

/* The room that a pipe has in all; a terminal has as much as may wait. */
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
	/* Closing our end of a terminal would hang up a command that has only let go of it. */
	if (!input->is_terminal)
		input_close(input);
	input->ended = true;
	input->size = 0;
}

/* Writes what is taken at once, and returns how much that is. */
static uint32_t pass(struct input *input, const uint8_t *data, uint32_t size)
{
	ssize_t n = write(input->fd, data, size);

	if (n < 0 && errno != EAGAIN && errno != EINTR)
		refuse(input);
	return n < 0 ? 0 : (uint32_t)n;
}

/* Keeps what cannot be written yet; credit leaves room for it, and for the end of a terminal. */
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
	/* What comes while nothing waits is not copied on its way. */
	uint32_t passed = input->size ? 0 : pass(input, data.data, data.size);

	if (!input->ended)
		keep(input, data.data + passed, data.size - passed);
}

struct pollfd input_poll(const struct input *input)
{
	/* Without events it still tells that the reader is gone, as long as that matters. */
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
	/* A pipe that nobody can read any more, or a terminal that nobody has open. */
	if (input->fd >= 0 && (events & (input->is_terminal ? POLLHUP : POLLERR)))
		refuse(input);
	write_on(input);
	if (input->ended && input->size == 0 && !input->is_terminal)
		input_close(input);
}

/* What can be written now, as far as it may also wait. */
static uint32_t free_space(struct input *input)
{
	uint32_t most = INPUT_SIZE - (uint32_t)sizeof end_of_file;
	unsigned held = 0;

	if (!input->is_terminal)
		ioctl(input->fd, FIONREAD, &held);
	/* Whoever else has it open can give it another size. */
	if (held >= input->pipe)
		input->pipe = size_of(input);
	uint32_t space = held < input->pipe ? input->pipe - held : 0;

	return space < most ? space : most;
}

uint32_t input_room(struct input *input, uint32_t allowed, bool waited)
{
	input->full = input->withheld = false;
	/* Where nothing waits, what comes waits from the beginning on. */
	if (input->fd < 0 || input->ended || input->size > 0)
		return 0;
	uint32_t space = free_space(input),
		 much = (input->pipe < INPUT_SIZE ? input->pipe : INPUT_SIZE) / 2;
	uint32_t room = space > allowed ? space - allowed : 0;

	input->full = space == 0;
	input->withheld = room > 0 && room < much && allowed < much && !waited;
	return room >= much || (allowed < much && waited) ? room : 0;
}

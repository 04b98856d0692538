#include "input.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

/* There is one command, and so one ring. */
static uint8_t ring[INPUT_SIZE];

/* VEOF of a new terminal, termios(3): in the middle of a line the first one only ends the line. */
static const uint8_t end_of_file[] = { 4, 4 };

void input_open(struct input *input, int fd, bool is_terminal)
{
	*input = (struct input){ .fd = fd, .is_terminal = is_terminal };
}

void input_close(struct input *input)
{
	if (input->fd >= 0)
		close(input->fd);
	input->fd = -1;
	input->size = 0;
}

static void put(struct input *input, const uint8_t *data, uint32_t size)
{
	uint32_t at = (input->start + input->size) % INPUT_SIZE;
	uint32_t first = size < INPUT_SIZE - at ? size : INPUT_SIZE - at;

	memcpy(ring + at, data, first);
	memcpy(ring, data + first, size - first);
	input->size += size;
}

void input_add(struct input *input, struct sandboxd_slice data)
{
	if (input->fd < 0 || input->ended)
		return;
	put(input, data.data, data.size);
	if (data.size == 0) {
		input->ended = true;
		/* Credit always leaves room for it. */
		if (input->is_terminal)
			put(input, end_of_file, sizeof end_of_file);
	}
}

struct pollfd input_poll(const struct input *input)
{
	/* Without events it still tells that the reader is gone, as long as that matters. */
	return (struct pollfd){ .fd = input->ended && !input->size ? -1 : input->fd,
				.events = input->size ? POLLOUT : 0 };
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

static void write_on(struct input *input)
{
	while (input->fd >= 0 && input->size > 0) {
		uint32_t left = INPUT_SIZE - input->start;
		ssize_t n = write(input->fd, ring + input->start,
				  input->size < left ? input->size : left);

		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			return;
		if (n < 0) {
			refuse(input);
			return;
		}
		input->start = (input->start + (uint32_t)n) % INPUT_SIZE;
		input->size -= (uint32_t)n;
	}
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

uint32_t input_room(const struct input *input, uint32_t allowed)
{
	/* After its end, that end itself may stand where the host is still allowed to send. */
	if (input->fd < 0 || input->ended)
		return 0;
	uint32_t room = INPUT_SIZE - (uint32_t)sizeof end_of_file - input->size - allowed;

	return room < INPUT_SIZE / 2 ? 0 : room;
}

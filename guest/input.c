#define _GNU_SOURCE /* makes the headers declare F_GETPIPE_SZ */
#include "input.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

/* One buffer for each command that can run at once. A buffer holds the input for which the command's
 * pipe has no space yet. */
static uint8_t waiting[INPUT_SIZE + (SANDBOXD_MAX_COMMANDS - 1) * INPUT_SHARE];

/* The bytes that mean end of file to a terminal: the character VEOF (termios(3)) twice. In the
 * middle of a line, the first one only completes the line, and the second one is the end of
 * file. */
static const uint8_t end_of_file[] = { 4, 4 };

/* Returns the capacity of the command's input pipe in bytes, or the size of the buffer if the
 * input is a terminal. */
static uint32_t size_of(const struct input *input)
{
	int size = input->is_terminal ? -1 : fcntl(input->fd, F_GETPIPE_SZ);

	return size > 0 ? (uint32_t)size : input->room;
}

void input_open(struct input *input, int fd, bool is_terminal, uint32_t slot)
{
	*input = (struct input){
		.fd = fd,
		.is_terminal = is_terminal,
		.room = input_limit(slot),
		.buffer = slot ? waiting + INPUT_SIZE + (slot - 1) * INPUT_SHARE : waiting,
	};
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
	/* Close a pipe that no process reads any more. Do not close a terminal, because the kernel
	 * would then send SIGHUP to a command that has only closed its descriptors of the terminal. */
	if (!input->is_terminal)
		input_close(input);
	input->ended = true;
	input->size = 0;
}

/* Writes input to the command without blocking, and returns the number of bytes that were
 * written. */
static uint32_t pass(struct input *input, const uint8_t *data, uint32_t size)
{
	ssize_t n = write(input->fd, data, size);

	if (n < 0 && errno != EAGAIN && errno != EINTR)
		refuse(input);
	return n < 0 ? 0 : (uint32_t)n;
}

/* Copies input that the command cannot take yet to its buffer. The buffer always has room: the host
 * sends at most as many bytes as the daemon has allowed, and the daemon keeps two bytes for a
 * terminal's end of file. */
static void keep(struct input *input, const uint8_t *data, uint32_t size)
{
	memcpy(input->buffer + input->start + input->size, data, size);
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
	/* If no older input waits in the buffer, write the new input directly instead of copying it
	 * to the buffer. */
	uint32_t passed = input->size ? 0 : pass(input, data.data, data.size);

	if (!input->ended)
		keep(input, data.data + passed, data.size - passed);
}

struct pollfd input_poll(const struct input *input)
{
	/* Poll the descriptor even if no input waits, because poll also reports that the command
	 * has closed its input. Stop when the host has sent end of file and all input was
	 * written. */
	return (struct pollfd){ .fd = input->ended && !input->size ? -1 : input->fd,
				.events = input->size || input->full ? POLLOUT : 0 };
}

static void write_on(struct input *input)
{
	uint32_t n = 1;

	while (n > 0 && input->size > 0) {
		n = pass(input, input->buffer + input->start, input->size);
		input->start += n;
		input->size -= n;
	}
	if (input->size == 0)
		input->start = 0;
}

void input_run(struct input *input, short events)
{
	/* poll reports POLLERR if the pipe has no reader any more, and POLLHUP if no process has
	 * the terminal open. */
	if (input->fd >= 0 && (events & (input->is_terminal ? POLLHUP : POLLERR)))
		refuse(input);
	write_on(input);
	if (input->ended && input->size == 0 && !input->is_terminal)
		input_close(input);
}

/* Returns the number of bytes that can be written to the command now, but at most as many as fit
 * into the buffer. */
static uint32_t free_space(struct input *input)
{
	uint32_t most = input->room - (uint32_t)sizeof end_of_file;
	unsigned held = 0;

	if (!input->is_terminal)
		ioctl(input->fd, FIONREAD, &held);
	/* Look up the capacity of a full pipe again, because another process that has the pipe open
	 * may have changed it. */
	if (held >= input->pipe)
		input->pipe = size_of(input);
	uint32_t space = held < input->pipe ? input->pipe - held : 0;

	return space < most ? space : most;
}

uint32_t input_room(struct input *input, uint32_t allowed, bool waited)
{
	uint32_t much = (input->pipe < input->room ? input->pipe : input->room) / 2;

	input->full = input->withheld = false;
	/* Let the host send more input only while the buffer is empty, so that new input starts at
	 * the beginning of the buffer. If the host may still send more than `much`, return early,
	 * because the system calls below would slow down each iteration of the main loop. */
	if (input->fd < 0 || input->ended || input->size > 0 || allowed > much)
		return 0;
	uint32_t space = free_space(input);
	uint32_t room = space > allowed ? space - allowed : 0;

	input->full = space == 0;
	input->withheld = room > 0 && room < much && allowed < much && !waited;
	return room >= much || (allowed < much && waited) ? room : 0;
}

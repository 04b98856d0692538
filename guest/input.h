/* The standard input of a command: data that the host has sent and the command has not read yet. */
#ifndef INPUT_H
#define INPUT_H

#include <poll.h>

#include "protocol.h"

/* The maximum number of bytes of input that the host may send before the daemon has written them to
 * the command's pipe. It is INPUT_SIZE in slot 0, and INPUT_SHARE in each other slot. A command
 * that runs alone always has slot 0. So the daemon holds less than 5 MiB of input for all commands
 * together. The capacity of a pipe is INPUT_PIPES times this number, if the kernel allows it, so
 * that the command has input to read while the host sends more. */
enum {
	INPUT_SIZE = 16 * SANDBOXD_EXEC_STDIN_DATA_MAX,
	INPUT_SHARE = SANDBOXD_EXEC_STDIN_DATA_MAX,
	INPUT_PIPES = 2,
};

struct input {
	int fd; /* write end of the pipe, or the terminal's master; -1 if it is closed */
	bool is_terminal;
	bool ended;   /* true if the host has sent end of file */
	bool refused; /* true if the host must be notified that the command closed its input */
	bool full;    /* true if the pipe has no free space */
	bool withheld; /* true while input_room waits until it can grant more credit in one message */
	uint32_t start; /* offset in the buffer at which the waiting input begins */
	uint32_t size;	/* number of bytes of input that wait to be written */
	uint32_t pipe;	/* capacity of the pipe in bytes, as last looked up */
	uint32_t room;	/* size of the buffer in bytes */
	uint8_t *buffer;
};

/* Returns the maximum number of bytes of input that the host may send to the command in a slot
 * before the daemon has written them to the command's pipe. */
static inline uint32_t input_limit(uint32_t slot)
{
	return slot ? INPUT_SHARE : INPUT_SIZE;
}

/* Takes ownership of a non-blocking descriptor, to which the command's input is written; -1 means
 * that the command gets no input. `slot` is the slot of the command. */
void input_open(struct input *input, int fd, bool is_terminal, uint32_t slot);
void input_close(struct input *input);

/* Writes input from the host to the command, and keeps the bytes that cannot be written yet in a
 * buffer. The host must not send more bytes than input_room has allowed. Empty data means end of
 * file. */
void input_add(struct input *input, struct sandboxd_slice data);

struct pollfd input_poll(const struct input *input);

/* Writes input that waits in the buffer to the command. `events` are the events that poll has
 * returned for the descriptor from input_poll, or 0. */
void input_run(struct input *input, short events);

/* Returns the credit to grant to the host: the number of bytes of input that it may send in
 * addition to the `allowed` bytes that it may send already. A credit that is too small to be worth
 * a message is held back, so that it can grow, until poll has timed out. `waited` is true after
 * this timeout. */
uint32_t input_room(struct input *input, uint32_t allowed, bool waited);

#endif

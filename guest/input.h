/* The standard input of the command: data that the host has sent and the command has not read
 * yet. */
#ifndef INPUT_H
#define INPUT_H

#include <poll.h>

#include "protocol.h"

/* INPUT_SIZE is the maximum number of bytes that the host may send ahead of what was written to the
 * command's pipe. INPUT_PIPE is the capacity of this pipe, if the kernel allows it. It is twice as
 * large, so that data can be written as it arrives, without a copy, and the command has data to
 * read while more is on its way. */
enum { INPUT_SIZE = 16 * SANDBOXD_EXEC_STDIN_DATA_MAX, INPUT_PIPE = 2 * INPUT_SIZE };

struct input {
	int fd; /* the write end; -1 if it is closed */
	bool is_terminal;
	bool ended;	/* true if the host has sent end of file */
	bool refused;	/* true if the host must be notified that the command closed its input */
	uint32_t start; /* offset of the data that waits to be written */
	uint32_t size;	/* number of bytes that wait to be written */
	uint32_t pipe;	/* capacity of the pipe, when it was last looked up */
	bool full;	/* true if the pipe has no free space */
	bool withheld;	/* true if credit is held back until it is large or some time has passed */
};

/* Takes ownership of a non-blocking descriptor; -1 means no input. */
void input_open(struct input *input, int fd, bool is_terminal);
void input_close(struct input *input);

/* Takes data that the host has sent within its credit. Empty data means end of file. */
void input_add(struct input *input, struct sandboxd_slice data);

struct pollfd input_poll(const struct input *input);

/* Writes data that waits. `events` is the result of poll for the descriptor, or 0. */
void input_run(struct input *input, short events);

/* Returns the number of bytes that the host may send in addition to the `allowed` ones, or 0. A
 * small number is held back unless `waited` is true. */
uint32_t input_room(struct input *input, uint32_t allowed, bool waited);

#endif

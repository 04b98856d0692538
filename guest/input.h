/* The command's standard input: what the host has sent and the command has not read yet. */
#ifndef INPUT_H
#define INPUT_H

#include <poll.h>

#include "protocol.h"

/* What the host may send ahead of what has been written to the command's pipe, and the room that this
 * pipe has where it can: twice as much, so that what comes need not wait, and be copied, before it is
 * written, and there is something to read while more is on its way. */
enum { INPUT_SIZE = 16 * SANDBOXD_EXEC_STDIN_DATA_MAX, INPUT_PIPE = 2 * INPUT_SIZE };

struct input {
	int fd; /* the write end; -1 when closed */
	bool is_terminal;
	bool ended;	/* the host has sent the end */
	bool refused;	/* the command has closed its end, and the host does not know yet */
	uint32_t start; /* of what waits */
	uint32_t size;	/* of what waits */
	uint32_t pipe;	/* the room that the pipe had in all when it was looked at last */
	bool full;	/* the pipe has no room */
	bool withheld;	/* the host needs more, and gets it when that is much, or after a moment */
};

/* Takes over a descriptor that does not block, or -1 for no input. */
void input_open(struct input *input, int fd, bool is_terminal);
void input_close(struct input *input);

/* Takes what the host has sent, and has been allowed to; no data is the end. */
void input_add(struct input *input, struct sandboxd_slice data);

struct pollfd input_poll(const struct input *input);

/* Writes on; `events` is what poll has said of the descriptor, or 0. */
void input_run(struct input *input, short events);

/* What the host can be allowed to send beyond what it still may; 0 for nothing. In large pieces, but
 * when it has waited for them. */
uint32_t input_room(struct input *input, uint32_t allowed, bool waited);

#endif

#include "drain.h"

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

static int pipes[DRAIN_MAX]; /* the oldest first */
static unsigned count;

void drain_add(int fd)
{
	if (count == DRAIN_MAX) {
		close(pipes[0]);
		memmove(pipes, pipes + 1, --count * sizeof pipes[0]);
	}
	pipes[count++] = fd;
}

unsigned drain_poll(struct pollfd fds[static DRAIN_MAX])
{
	for (unsigned i = 0; i < count; i++)
		fds[i] = (struct pollfd){ .fd = pipes[i], .events = POLLIN };
	return count;
}

static bool is_over(int fd)
{
	static uint8_t nowhere[16384];
	ssize_t n = read(fd, nowhere, sizeof nowhere);

	return n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR);
}

void drain_run(const struct pollfd *fds)
{
	unsigned kept = 0;

	for (unsigned i = 0; i < count; i++)
		if (fds[i].revents && is_over(pipes[i]))
			close(pipes[i]);
		else
			pipes[kept++] = pipes[i];
	count = kept;
}

#include "drain.h"

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <unistd.h>

/* Descriptors plus one, so that 0 is a free place. */
static int places[DRAIN_MAX];
static unsigned oldest;

void drain_add(int fd)
{
	for (unsigned i = 0; i < DRAIN_MAX; i++)
		if (!places[i]) {
			places[i] = fd + 1;
			return;
		}
	close(places[oldest] - 1);
	places[oldest] = fd + 1;
	oldest = (oldest + 1) % DRAIN_MAX;
}

unsigned drain_poll(struct pollfd fds[static DRAIN_MAX])
{
	unsigned count = 0;

	for (unsigned i = 0; i < DRAIN_MAX; i++) {
		fds[i] = (struct pollfd){ .fd = places[i] - 1, .events = POLLIN };
		if (places[i])
			count = i + 1;
	}
	return count;
}

static bool is_over(int fd)
{
	static uint8_t nowhere[16384];
	ssize_t n = read(fd, nowhere, sizeof nowhere);

	return n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR);
}

void drain_run(const struct pollfd *fds, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		if (fds[i].fd >= 0 && fds[i].revents && is_over(fds[i].fd)) {
			close(fds[i].fd);
			places[i] = 0;
		}
}

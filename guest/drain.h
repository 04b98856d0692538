/* Pipes that outlive their command: processes in the background still write to them. They are
 * read to nowhere, so that these processes neither block nor die of it. */
#ifndef DRAIN_H
#define DRAIN_H

#include <poll.h>

enum { DRAIN_MAX = 512 };

/* Takes over the read end of a pipe; the oldest is closed when there are too many. */
void drain_add(int fd);

/* Sets what to wait for, and returns how many of `fds` that took. */
unsigned drain_poll(struct pollfd fds[static DRAIN_MAX]);

/* Reads from those that are ready, and closes those that nobody writes to any more. To be called
 * before any other is added. */
void drain_run(const struct pollfd *fds);

#endif

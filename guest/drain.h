/* Pipes that outlive their command: processes in the background still write to them. They are
 * read to nowhere, so that these processes neither block nor die of it. */
#ifndef DRAIN_H
#define DRAIN_H

#include <stdbool.h>

/* Descriptors that the daemon may have open where its limit can be raised to that. A machine has no
 * memory for as many processes. */
enum { DRAIN_FILES = 65536 };

/* Called once, before anything is added; false when there is no memory. */
bool drain_init(void);

/* What to wait for: it is readable when drain_run has something to do. */
int drain_fd(void);

/* Takes over the read end of a pipe; closes it where the next command would lack descriptors. */
void drain_add(int fd);

/* Reads from those that are ready, and closes those that nobody writes to any more. */
void drain_run(void);

/* Closes all of them. */
void drain_clear(void);

/* The highest descriptor that has ever been taken over. */
int drain_highest(void);

#endif

/* Output pipes of finished commands, to which background processes still write. The daemon reads
 * and discards this output, so that the processes neither block nor get SIGPIPE. */
#ifndef DRAIN_H
#define DRAIN_H

#include <stdbool.h>

/* Maximum number of open file descriptors of the daemon. This is enough for the pipes of all
 * background processes, because the memory of a machine cannot hold so many processes. */
enum { DRAIN_FILES = 65536 };

/* Creates the epoll set, with which the daemon waits for output in the pipes of finished commands.
 * Must be called once, before drain_add. Returns false if the kernel lacks the memory. */
bool drain_init(void);

/* Returns a descriptor for poll, which is readable when drain_run must be called. */
int drain_fd(void);

/* Takes ownership of the read end of a finished command's pipe. Closes it at once if no process can
 * write to the pipe any more, or if the next command would otherwise lack descriptors. */
void drain_add(int fd);

/* Reads and discards the output in the pipes, and closes each pipe that no process can write to any
 * more. */
void drain_run(void);

/* Closes all pipes of finished commands, without reading their output. */
void drain_clear(void);

/* Returns the highest number that the descriptor of any pipe has had so far, even if the pipe is
 * closed by now; 0 if there was no pipe. All other descriptors of the daemon have low numbers, so
 * status.c need not look for open descriptors far above this number. */
int drain_highest(void);

#endif

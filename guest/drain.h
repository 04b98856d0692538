/* Pipes of finished commands to which background processes still write. The daemon reads and
 * discards this output, so that the processes neither block nor get SIGPIPE. */
#ifndef DRAIN_H
#define DRAIN_H

#include <stdbool.h>

/* Maximum number of open descriptors of the daemon, if its limit can be raised to that. The memory
 * of a machine holds fewer processes. */
enum { DRAIN_FILES = 65536 };

/* Must be called once, before drain_add. Returns false if there is no memory. */
bool drain_init(void);

/* Returns a descriptor that is readable when drain_run has something to do. */
int drain_fd(void);

/* Takes ownership of the read end of a pipe. Closes it if the next command would lack descriptors
 * otherwise. */
void drain_add(int fd);

/* Reads from the pipes that are ready, and closes those that no process can write to any more. */
void drain_run(void);

/* Closes all pipes. */
void drain_clear(void);

/* Returns the highest descriptor that drain_add has ever kept. */
int drain_highest(void);

#endif

/* Reports to the controller what the launcher does, in lines of text. The first line is `pid N`. A
 * line `LAYER ok DETAIL` or `LAYER no REASON` follows for each layer. If the program is not
 * executed, the last line is `failed WHAT: REASON`.
 *
 * Just before the launcher executes the program, it shuts down the socket. So the controller sees
 * the end of the report even if another process, for example one that the controller has just
 * forked, holds a copy of the socket. If the kernel fails to execute the program after that, the
 * launcher writes the same line to standard error, and exits with the same status. */
#ifndef STATUS_H
#define STATUS_H

#include <stdbool.h>
#include <sys/types.h>

#include "layers.h"

/* Exit status of the launcher if it has not executed the program. */
enum { EXIT_FAILED = 125 };

/* Sets the descriptor of a socket or a pipe to report to. With -1, only failures are reported, on
 * standard error. */
void status_open(int fd);

/* Writes the line with the pid at once. */
void status_pid(pid_t pid);

/* Collects the line of a layer, to be written together with all others. */
void status_layer(enum layer layer, bool holds, const char *detail);

/* Returns whether the line of this layer says `ok`. */
bool status_holds(enum layer layer);

/* Writes the collected lines, and shuts down a socket. Later failures are reported on standard
 * error. */
void status_end(void);

/* Writes the collected lines and the reason why the program is not executed, and exits. */
_Noreturn void status_fail(const char *what, const char *reason);

#endif

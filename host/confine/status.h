/* Reports to the controller, which has started the launcher, what the launcher does. The report
 * consists of lines of text. The first line is `pid N`. A line `LAYER ok DETAIL` or
 * `LAYER no REASON` follows for each layer of the confinement. If the program is not executed, the
 * last line is `failed MESSAGE`.
 *
 * Just before the launcher executes the program, it shuts down the socket for the report. So the
 * controller sees the end of the report even if another process, for example one that the
 * controller has just forked, holds a copy of the socket. If the kernel fails to execute the
 * program after that, the launcher writes `confine: MESSAGE` to standard error instead, and exits
 * with the same status as after other failures. */
#ifndef STATUS_H
#define STATUS_H

#include <stdbool.h>
#include <sys/types.h>

#include "layers.h"

/* Exit status of the launcher if it has not executed the program. */
enum { EXIT_FAILED = 125 };

/* Sets the descriptor of a socket or a pipe to which the report is written. With -1, only failures
 * are reported, on standard error. */
void status_open(int fd);

/* Writes the line with the pid of the program at once, before the lines about the layers. */
void status_pid(pid_t pid);

/* Collects the line about a layer of the confinement, to be written together with the lines about
 * all other layers. */
void status_layer(enum layer layer, bool holds, const char *detail);

/* Returns whether the line about this layer says `ok`, which means that the layer is applied. */
bool status_holds(enum layer layer);

/* Writes the collected lines, and then shuts down the descriptor, if it is a socket. Later failures
 * are reported on standard error. */
void status_end(void);

/* Writes the collected lines and the reason why the program is not executed, and exits. The message
 * consists of `step`, such as "cannot execute ", `object`, which may be empty, a colon and
 * `reason`. */
_Noreturn void status_fail(const char *step, const char *object, const char *reason);

#endif

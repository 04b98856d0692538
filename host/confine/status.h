/* What the controller is told, in lines of text: first `pid N`, then `LAYER ok DETAIL` or `LAYER no
 * REASON` of each layer, and, where it does not come to execute the program, `failed WHAT: REASON`.
 *
 * A socket ends there, whoever else has a copy of it, just before the program is executed: a process that
 * the controller forks meanwhile has one. What the kernel then says of the program, if it does not execute
 * it, is said on standard error instead: the same line, and the same exit status. */
#ifndef STATUS_H
#define STATUS_H

#include <stdbool.h>
#include <sys/types.h>

#include "layers.h"

/* The launcher's exit status where it has not become the program. */
enum { EXIT_FAILED = 125 };

/* Says everything there, from now on, a socket or a pipe; -1: only failures, on standard error. */
void status_open(int fd);

/* Writes the pid at once. */
void status_pid(pid_t pid);

/* Keeps a line about a layer until it is written with all others. */
void status_layer(enum layer layer, bool holds, const char *detail);

/* Whether such a line said so. */
bool status_holds(enum layer layer);

/* Writes the lines that were kept, and ends a socket: a failure after that is said on standard error. */
void status_end(void);

/* Writes what was kept, and why there will be no program, and ends the process. */
_Noreturn void status_fail(const char *what, const char *reason);

#endif

/* What the controller is told, in lines of text: first `pid N`, then `LAYER ok DETAIL` or `LAYER no
 * REASON` of each layer, and, where the program is not executed, `failed WHAT: REASON`. */
#ifndef STATUS_H
#define STATUS_H

#include <stdbool.h>
#include <sys/types.h>

#include "layers.h"

/* The launcher's exit status where it has not become the program. */
enum { EXIT_FAILED = 125 };

/* Says everything there, from now on; -1: only failures, on standard error. */
void status_open(int fd);

/* Writes the pid at once. */
void status_pid(pid_t pid);

/* Keeps a line about a layer until it is written with all others. */
void status_layer(enum layer layer, bool holds, const char *detail);

/* Whether such a line said so. */
bool status_holds(enum layer layer);

/* Writes the lines that were kept. */
void status_write(void);

/* Writes what was kept, and why there will be no program, and ends the process. */
_Noreturn void status_fail(const char *what, const char *reason);

#endif

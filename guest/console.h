/* Writes messages about failed steps to standard error. For init and sandboxd, that is the
 * machine's console. */
#ifndef CONSOLE_H
#define CONSOLE_H

#include <stdbool.h>

/* Prefix of every message, such as "init: ". Each program of the guest defines its own prefix. */
extern const char console_name[];

/* Writes a message that a step has failed, such as "mount /proc: REASON". `step` ("mount ") ends
 * with a space, and `reason` with a newline. */
void console_say(const char *step, const char *object, const char *reason);

/* Unless `done` is true, writes a message that a step has failed, with the number in errno as the
 * reason. `step` ends with a space. */
void console_expect(bool done, const char *step, const char *object);

#endif

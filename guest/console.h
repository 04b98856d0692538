/* Writes messages about failed steps to standard error, which is the console for init and
 * sandboxd. */
#ifndef CONSOLE_H
#define CONSOLE_H

#include <stdbool.h>

/* Prefix of every message, such as "init: ". Each program defines its own. */
extern const char console_name[];

/* Writes that a step failed. `step` ends with a space, and `reason` with a newline. */
void console_say(const char *step, const char *object, const char *reason);

/* Unless `done` is true, writes that a step failed, with the number of errno. `step` ends with a
 * space. */
void console_expect(bool done, const char *step, const char *object);

#endif

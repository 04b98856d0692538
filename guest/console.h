/* Writes messages about failed steps to standard error. For init and sandboxd, that is the
 * machine's console. */
#ifndef CONSOLE_H
#define CONSOLE_H

#include <stdbool.h>

/* Prefix of every message, such as "init: ". Each program of the guest defines its own prefix. */
extern const char console_name[];

/* Writes a message that a step has failed: the program's prefix, and then "mount /proc: REASON" for
 * the `step` "mount " and the `object` "/proc". `step` must end with a space, and `reason` with a
 * newline. */
void console_say(const char *step, const char *object, const char *reason);

/* Unless `done` is true, writes a message that a step has failed. The reason is the number in
 * errno, such as "errno 2". `step` must end with a space. */
void console_expect(bool done, const char *step, const char *object);

#endif

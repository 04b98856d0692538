/* Writes messages about failed steps to standard error. For init and sandboxd, that is the
 * machine's console. */
#ifndef CONSOLE_H
#define CONSOLE_H

#include <stdbool.h>

/* Prefix of every message, such as "init: ". Each program of the guest defines its own prefix. */
extern const char console_name[];

/* Writes a message that a step has failed, such as "init: mount /proc: errno 2". It consists of the
 * program's prefix, `step` ("mount "), `object` ("/proc"), a colon and `reason` ("errno 2"). `step`
 * must end with a space, and `reason` with a newline. */
void console_say(const char *step, const char *object, const char *reason);

/* Writes a message if a step has failed, which means that `done` is false. The reason in the
 * message is the number in errno, such as "errno 2". `step` must end with a space, as for
 * console_say. */
void console_expect(bool done, const char *step, const char *object);

#endif

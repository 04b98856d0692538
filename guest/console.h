/* What of a start was not to be had, said on the console. */
#ifndef CONSOLE_H
#define CONSOLE_H

#include <stdbool.h>

/* Who says it, such as "init: "; each program has its own. */
extern const char console_name[];

/* Says what cannot be done, and why: a step, which ends with a space, what it was about, and a reason,
 * which ends the line. */
void console_say(const char *step, const char *object, const char *reason);

/* Says what was not `done`, and the errno of that: a step, which ends with a space, and what it was
 * about. */
void console_expect(bool done, const char *step, const char *object);

#endif

/* The duties of PID 1: file systems, devices, clock, entropy, and the machine's end. */
#ifndef BOOT_H
#define BOOT_H

#include "protocol.h"

void boot_prepare(void);

/* Says on the console what of the boot was not `done`, and the errno of that: a step, which ends with
 * a space, and what it was about. */
void boot_expect(bool done, const char *step, const char *object);

void boot_resume(const struct sandboxd_resume *resume);
_Noreturn void boot_reset(void);

#endif

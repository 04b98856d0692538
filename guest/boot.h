/* The duties of PID 1: file systems, devices, clock, entropy, and the machine's end. */
#ifndef BOOT_H
#define BOOT_H

#include "protocol.h"

void boot_prepare(void);
void boot_resume(const struct sandboxd_resume *resume);
_Noreturn void boot_reset(void);

#endif

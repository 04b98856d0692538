/* What PID 1 owes the machine: file systems, devices, clock, entropy, and its end. */
#ifndef BOOT_H
#define BOOT_H

#include "protocol.h"

void boot_prepare(void);
void boot_resume(const struct sandboxd_resume *resume);
_Noreturn void boot_reset(void);

#endif

/* The machine as every program expects it: file systems, devices, console, loopback, a name. */
#ifndef BOOT_H
#define BOOT_H

void boot_prepare(void);

#endif

/* The machine as every program expects it: file systems, devices, console, loopback, a name. */
#ifndef BOOT_H
#define BOOT_H

/* What programs read as the kernel's boot id: a file of ours, since the kernel's own never changes. */
#define BOOT_ID "/run/microvm/boot_id"

void boot_prepare(void);

#endif

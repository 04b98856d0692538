/* Prepares a machine as programs expect it: file systems, devices, console, loopback and host
 * name. */
#ifndef BOOT_H
#define BOOT_H

/* Path of the file that is mounted over the kernel's boot_id. The kernel's own id never changes,
 * but every clone of a machine needs another one. */
#define BOOT_ID "/run/microvm/boot_id"

void boot_prepare(void);

#endif

/* Sets up the guest's system as programs expect it: file systems, devices, console, loopback
 * interface and host name. */
#ifndef BOOT_H
#define BOOT_H

/* Path of the file that is mounted over /proc/sys/kernel/random/boot_id. The kernel's own boot id
 * never changes, but every clone of a machine needs a new one. */
#define BOOT_ID "/run/microvm/boot_id"

void boot_prepare(void);

#endif

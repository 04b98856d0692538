/* Write-protects the open files that QEMU receives for reading. */
#ifndef READONLY_H
#define READONLY_H

#include <stdbool.h>

#include "options.h"

/* Reopens each file in a read-only mount, by the same descriptor number. Otherwise QEMU could open
 * it for writing through /dev/fd/N, because this path leads to the mount of the descriptor. Returns
 * false, with errno, if any file remains writable. */
bool readonly_protect(const struct files *files);

#endif

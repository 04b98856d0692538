/* Write-protects the files that the program receives for reading. */
#ifndef READONLY_H
#define READONLY_H

#include <stdbool.h>

#include "options.h"

/* Reopens each file in a read-only mount, by the same descriptor number. Then the program cannot
 * open it for writing through /dev/fd/N, either, which leads to the mount of the descriptor.
 * Returns false, with errno, if any file remains writable. */
bool readonly_protect(const struct files *files);

#endif

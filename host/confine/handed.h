/* Write-protects the files that the program receives for reading. */
#ifndef HANDED_H
#define HANDED_H

#include <stdbool.h>

#include "options.h"

/* Reopens each file in a read-only mount, by the same descriptor number. Then the program cannot
 * open it for writing through /dev/fd/N, either, which leads to the mount of the descriptor.
 * Returns false, with errno, if any file remains writable. */
bool handed_protect(const struct files *files);

#endif

/* The files that the program was handed to read, which are others' to write. */
#ifndef HANDED_H
#define HANDED_H

#include <stdbool.h>

#include "options.h"

/* Opens each anew, by the same descriptor, where it cannot be written: neither by that nor by /dev/fd/N, which
 * leads to the place where it was opened. False, with errno, if one of them can still be. */
bool handed_protect(const struct files *files);

#endif

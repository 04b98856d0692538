/* Lets the program reopen root's files with its own uid, which has no right to them. */
#ifndef REOPEN_H
#define REOPEN_H

#include <stdbool.h>

#include "options.h"

/* Makes a user namespace for `reopen_files`, by cloning a process that exits at once. Must be called
 * before a new pid namespace is made, because this process would become its first, and the
 * namespace would end with it. */
void reopen_prepare(void);

/* Reopens each file, by the same descriptor number, so that the uid of the options can open it
 * through /dev/fd/N: in a mount in which this uid owns the file, or else as a copy in memory. The
 * rights of other users do not change. Returns false, with errno, if neither is possible. */
bool reopen_files(struct options *options);

#endif

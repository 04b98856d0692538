/* Lets QEMU reopen root's files, although QEMU has a uid of its own, which has no right to them. */
#ifndef REOPEN_H
#define REOPEN_H

#include <stdbool.h>

#include "options.h"

/* Makes a user namespace for `reopen_files`, by cloning a process that exits at once. Must be
 * called before a new pid namespace is made. Otherwise the cloned process would be the first one of
 * the pid namespace, which ends when its first process exits. */
void reopen_prepare(void);

/* Reopens each file that only root may read, by the same descriptor number, so that QEMU's uid can
 * open it through /dev/fd/N. Reopens it in a mount in which this uid owns the file, or else as a
 * copy in memory. The rights of other users do not change. Returns false, with errno, if neither is
 * possible. */
bool reopen_files(struct options *options);

#endif

/* Reopens the files that QEMU receives: so that QEMU can open root's files, although its uid has no
 * right to them, and so that QEMU cannot write to files that it may only read. */
#ifndef REOPEN_H
#define REOPEN_H

#include <stdbool.h>

#include "options.h"

/* Makes a user namespace for `reopen_files`, by cloning a process that exits at once. Must be
 * called before a new pid namespace is made. Otherwise the cloned process would be the first one of
 * the pid namespace, which ends when its first process exits. */
void reopen_prepare(void);

/* Makes the descriptor of each file that only root may read refer to a file that QEMU's uid can
 * open through /dev/fd/N: the same file in a mount in which this uid owns it, or else a copy in
 * memory. The rights of other users do not change. Returns false, with errno, if neither is
 * possible. */
bool reopen_files(struct options *options);

/* Makes each descriptor refer to the same file in a read-only mount. Otherwise QEMU could open the
 * file for writing through /dev/fd/N, because this path leads to the mount of the descriptor.
 * Returns false, with errno, if any file remains writable. */
bool reopen_read_only(const struct files *files);

#endif

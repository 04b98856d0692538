/* Copies mounts of the host, so that QEMU's root file system can be built from the copies. */
#ifndef MOUNT_TREE_H
#define MOUNT_TREE_H

#include <stdbool.h>
#include <stdint.h>

/* Restrictions of a mount, as in linux/mount.h, which musl lacks. */
enum { READ_ONLY = 1, NO_SUID = 2, NO_DEVICES = 4, NO_EXECUTION = 8 };

/* Copies the mount at a path, with all mounts below it, and applies the restrictions in `set` to
 * the copies. Returns a descriptor of the copy, or -1. The process must have a mount namespace of
 * its own. */
int tree_copy(const char *path, uint64_t set);

/* Copies the mount of an open file, read-only. In the copy, the file belongs to the uid to which a
 * user namespace, given by its descriptor, maps the file's owner. Returns a descriptor of the file
 * in the copy, or -1. */
int tree_copy_owned(int file, int user_namespace);

/* Applies the restrictions in `set` to the mount with the descriptor `tree`, but not to the mounts
 * below it. Returns false on failure. */
bool tree_limit(int tree, uint64_t set);

#endif

/* Copies of parts of the host's tree of files, which are mounted nowhere. */
#ifndef TREE_H
#define TREE_H

#include <stdbool.h>
#include <stdint.h>

/* What linux/mount.h has, which musl has not. */
enum { READ_ONLY = 1, NO_SUID = 2, NO_DEVICES = 4, NO_EXECUTION = 8 };

/* Copies what is at a path, with all that is mounted below it, where nothing can be done that is in the set:
 * a descriptor of it, or -1. This takes a mount namespace of our own. */
int tree_copy(const char *path, uint64_t set);

/* Copies the mount of an open file, read-only. In the copy, the user namespace says which uid
 * owns the file. Returns a descriptor of the file in that mount, or -1. */
int tree_copy_owned(int file, int user_namespace);

/* The same of a mount that is there, and not of those below it. */
bool tree_limit(int tree, uint64_t set);

#endif

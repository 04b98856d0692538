/* The files with several hard links that `pack` has written to the archive, and the first path of
 * each. */
#ifndef LINKS_H
#define LINKS_H

#include <stdbool.h>
#include <stdint.h>

/* Sets `first` to the first path of the file with this inode, if the file was packed before. If
 * not, sets `first` to NULL and records `path` as its first path. Returns false if there is no room
 * for more files. */
bool links_meet(uint64_t inode, const char *path, const char **first);

#endif

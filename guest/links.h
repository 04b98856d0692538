/* The files with several hard links that were packed, and the first path of each. */
#ifndef LINKS_H
#define LINKS_H

#include <stdbool.h>
#include <stdint.h>

/* Sets `first` to the path under which this inode was met first. If it was not met before, sets
 * `first` to NULL and records `path`. Returns false if there are too many files. */
bool links_meet(uint64_t inode, const char *path, const char **first);

#endif

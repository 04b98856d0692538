/* The files with more than one name that have been met, and the first name of each. */
#ifndef LINKS_H
#define LINKS_H

#include <stdbool.h>
#include <stdint.h>

/* Gives the first path by which this inode was met, or NULL, and notes this one. False: there are
 * too many. */
bool links_meet(uint64_t inode, const char *path, const char **first);

#endif

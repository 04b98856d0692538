/* Finds the folder to which a tree is written, and makes its parent folders. */
#ifndef DESTINATION_H
#define DESTINATION_H

#include <limits.h>
#include <stdbool.h>

#include "target.h"

struct destination {
	char path[PATH_MAX]; /* path of the tree's root; after a failure, the path that failed */
	const char *name;    /* name of the root in its folder */
};

/* Opens the folder that will contain the root of the tree. `is_folder` tells whether the root is a
 * folder. Returns its descriptor, or -1 with errno. */
int destination_open(const struct target *target, bool is_folder, struct destination *destination);

#endif

/* Finds or creates the folder into which `carry`, the guest's program that copies files, writes a
 * tree from the host. */
#ifndef DESTINATION_H
#define DESTINATION_H

#include <limits.h>
#include <stdbool.h>

#include "target.h"

struct destination {
	/* Path at which the file or the outermost folder from the host is written. After a failure,
	 * the path for the error message. */
	char path[PATH_MAX];
	/* The last component of `path`: the name in the opened folder. */
	const char *name;
};

/* Opens the folder that will contain the top of the tree, which is the file or the outermost folder
 * that the host sends. `is_folder` tells whether the top is a folder. Returns the descriptor of the
 * opened folder, or -1 with errno. */
int destination_open(const struct target *target, bool is_folder, struct destination *destination);

#endif

/* Removes files, and folders with everything in them. */
#ifndef REMOVE_H
#define REMOVE_H

#include "exchange.h"

struct removal {
	int error; /* error number of the first failure; 0 if everything was removed */
	struct trail trail;
};

/* Removes a file, a link, or a folder with everything in it. `path` is relative to the open folder
 * `folder`. Follows no symbolic links in the tree, and enters no mount points. If a file cannot be
 * removed, it remains with the folders that contain it, and all others are removed. */
const struct removal *remove_tree(int folder, const char *path);

#endif

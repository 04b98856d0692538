#include "links.h"

#include <stddef.h>
#include <string.h>

/* Sizes of the arrays `slots` and `paths`, and the maximum number of files. Large arrays cost
 * nothing, because the kernel provides a page of memory only when the program writes to the
 * page. */
enum { SLOTS = 1 << 17, FILES_MAX = SLOTS / 2, PATHS_SIZE = 8 << 20 };

static struct {
	uint64_t inode;
	const char *path; /* first path of the file; NULL if the slot is free */
} slots[SLOTS];
static char paths[PATHS_SIZE];
static size_t paths_size, files;

bool links_meet(uint64_t inode, const char *path, const char **first)
{
	size_t size = strlen(path) + 1, at = (size_t)(inode % SLOTS);

	while (slots[at].path && slots[at].inode != inode)
		at = (at + 1) % SLOTS;
	*first = slots[at].path;
	if (*first)
		return true;
	if (files == FILES_MAX || size > PATHS_SIZE - paths_size)
		return false;
	slots[at].inode = inode;
	slots[at].path = memcpy(paths + paths_size, path, size);
	paths_size += size;
	files++;
	return true;
}

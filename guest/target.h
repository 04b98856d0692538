/* Writes files from the host: a tree below a folder, never through a symbolic link in the tree. */
#ifndef TARGET_H
#define TARGET_H

#include <stdbool.h>
#include <sys/types.h>

#include "files.h"

struct target {
	const char *path;
	const char *name; /* see `name` in the request */
	enum files_mode_rule mode_rule;
	bool replace;
	bool owned; /* true if the request names an owner: `uid` and `gid` */
	uid_t uid;
	gid_t gid;
};

/* Receives the tree from the host and writes it. New files and folders appear under their names
 * only when they are complete. An existing file is overwritten in place, or replaced if the request
 * asks for that. */
_Noreturn void target_put(const struct target *target);

#endif

/* Writes a file or a tree of folders that the host sends. Symbolic links in the tree are never
 * followed. */
#ifndef TARGET_H
#define TARGET_H

#include <stdbool.h>
#include <sys/types.h>

#include "files.h"

struct target {
	const char *path;
	const char *name; /* name of the new file, if `path` is an existing folder */
	enum files_mode_rule mode_rule;
	bool replace;
	bool owned; /* true if the request names an owner: `uid` and `gid` */
	uid_t uid;
	gid_t gid;
};

/* Receives a file or a tree of folders from the host, and writes it. New files and folders get
 * their names only when they are complete, and have temporary names until then. An existing file is
 * overwritten in place, or replaced if the request asks for that. */
_Noreturn void target_put(const struct target *target);

#endif

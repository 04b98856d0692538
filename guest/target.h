/* Writes a file or a tree of folders that the host sends. Symbolic links in the tree are never
 * followed. */
#ifndef TARGET_H
#define TARGET_H

#include <limits.h>
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

struct destination {
	/* Path at which the file or the outermost folder from the host is written, or a folder is
	 * created. After a failure, the path for the error message. */
	char path[PATH_MAX];
	/* The last component of `path`: the name in the opened folder. */
	const char *name;
};

/* Opens the folder that will contain the top of the tree, which is the file or the outermost folder
 * that the host sends. `is_folder` tells whether the top is a folder. Returns the descriptor of the
 * opened folder, or -1 with errno. */
int destination_open(const struct target *target, bool is_folder, struct destination *destination);

/* Creates a folder at the path of the target. `parents` is true if missing parent folders are
 * created, too, and `may_exist` is true if the folder may exist already. Returns false with errno on
 * failure. */
bool destination_make(const struct target *target, bool parents, bool may_exist,
		      struct destination *destination);

#endif

/* What the host puts: a tree that is written below a folder, and never through a link in it. */
#ifndef TARGET_H
#define TARGET_H

#include <stdbool.h>
#include <sys/types.h>

#include "files.h"

struct target {
	const char *path;
	const char *name; /* see the request's */
	enum files_mode_rule mode_rule;
	bool replace;
	bool owned; /* whether an owner was asked for: this */
	uid_t uid;
	gid_t gid;
};

/* Writes the tree that the host sends. A new file or folder gets its name when it is complete. A
 * file that exists is opened and written, or is replaced if the request asks for that. */
_Noreturn void target_put(const struct target *target);

#endif

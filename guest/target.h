/* What the host puts: a tree that is written below a folder, and never through a link in it. */
#ifndef TARGET_H
#define TARGET_H

#include <stdbool.h>
#include <sys/types.h>

struct target {
	const char *path;
	const char *name; /* see the request's */
	bool keep_mode;
	bool owned; /* whether an owner was asked for: this */
	uid_t uid;
	gid_t gid;
};

/* Takes the tree from the host. A file appears whole, under its name, and so does a folder that is
 * new; of what could not be finished nothing is left. */
_Noreturn void target_put(const struct target *target);

#endif

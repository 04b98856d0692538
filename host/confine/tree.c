#include "tree.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

/* What linux/mount.h and linux/fcntl.h have, which musl has not. */
enum { TREE_CLONE = 1, EMPTY_PATH = 0x1000, RECURSIVE = 0x8000 };

struct attributes {
	uint64_t set;
	uint64_t clear;
	uint64_t propagation;
	uint64_t user_namespace;
};

static bool limit(int tree, uint64_t set, unsigned flags)
{
	const struct attributes attributes = { .set = set };

	return syscall(SYS_mount_setattr, tree, "", EMPTY_PATH | flags, &attributes,
		       sizeof attributes) == 0;
}

int tree_copy(const char *path, uint64_t set)
{
	int tree = (int)syscall(SYS_open_tree, AT_FDCWD, path, TREE_CLONE | O_CLOEXEC | RECURSIVE);
	int error;

	if (tree < 0 || limit(tree, set, RECURSIVE))
		return tree;
	error = errno;
	close(tree);
	errno = error;
	return -1;
}

bool tree_limit(int tree, uint64_t set)
{
	return limit(tree, set, 0);
}

#include "mount_tree.h"

#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Definitions of linux/mount.h and linux/fcntl.h, which musl lacks. */
enum { TREE_CLONE = 1, EMPTY_PATH = 0x1000, RECURSIVE = 0x8000, OWNERS_OF_NAMESPACE = 0x100000 };

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

	if (tree < 0 || limit(tree, set, RECURSIVE))
		return tree;
	close(tree);
	return -1;
}

int tree_copy_owned(int file, int user_namespace)
{
	const struct attributes attributes = {
		.set = READ_ONLY | NO_SUID | NO_DEVICES | NO_EXECUTION | OWNERS_OF_NAMESPACE,
		.user_namespace = (uint64_t)user_namespace,
	};
	int tree = (int)syscall(SYS_open_tree, file, "", TREE_CLONE | O_CLOEXEC | EMPTY_PATH);

	if (tree < 0 ||
	    syscall(SYS_mount_setattr, tree, "", EMPTY_PATH, &attributes, sizeof attributes) == 0)
		return tree;
	close(tree);
	return -1;
}

bool tree_limit(int tree, uint64_t set)
{
	return limit(tree, set, 0);
}

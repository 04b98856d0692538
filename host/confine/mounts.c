/* Gives QEMU a root file system that holds only the files that it needs. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "mount_tree.h"
#include "options.h"
#include "reopen.h"

/* Definitions of linux/mount.h, which musl lacks. */
enum { SET_STRING = 1, CREATE = 6 };
enum { CLOSE_ON_EXEC = 1, FROM_EMPTY_PATH = 4 };

/* A copy of a part of the host's file tree, and its path in QEMU's new root, without the first
 * slash. */
struct tree {
	int fd;
	const char *at;
};

enum { TREES_MAX = 2 * PATHS_MAX + 2 };

static struct tree trees[TREES_MAX];
static unsigned count;

/* The directory on which QEMU's new root is mounted until it becomes the root of this process. Any
 * directory that exists would do, and /proc always exists, because the other steps need it. */
static const char covered[] = "/proc";

static bool copy(const char *path, uint64_t set)
{
	int fd = tree_copy(path, set | NO_SUID);

	if (fd >= 0)
		trees[count++] = (struct tree){ fd, path + strspn(path, "/") };
	return fd >= 0;
}

/* Copies the mount at each path, except for paths that do not exist or that this user may not
 * access. */
static bool copy_all(const struct paths *paths, uint64_t set)
{
	for (unsigned i = 0; i < paths->count; i++)
		if (!copy(paths->at[i], set) && errno != ENOENT && errno != ENOTDIR &&
		    errno != EACCES)
			return false;
	return true;
}

/* Creates an empty file system, which is not mounted anywhere yet, for QEMU's new root. Returns a
 * descriptor of it, or -1. */
static int make_root(void)
{
	int context = (int)syscall(SYS_fsopen, "tmpfs", CLOSE_ON_EXEC), root = -1;

	if (context < 0)
		return -1;
	if (syscall(SYS_fsconfig, context, SET_STRING, "mode", "0755", 0) == 0 &&
	    syscall(SYS_fsconfig, context, CREATE, NULL, NULL, 0) == 0)
		root = (int)syscall(SYS_fsmount, context, CLOSE_ON_EXEC, 0);
	close(context);
	return root;
}

/* Creates the parent directories of a path in the new root. */
static bool make_parents(int root, const char *path)
{
	char parent[PATH_MAX];
	size_t length = strlen(path);

	if (length >= sizeof parent)
		return errno = ENAMETOOLONG, false;
	memcpy(parent, path, length + 1);
	for (char *at = parent; (at = strchr(at, '/')); *at++ = '/') {
		*at = 0;
		if (mkdirat(root, parent, 0755) < 0 && errno != EEXIST)
			return false;
	}
	return true;
}

/* Creates the mount point in the new root for a tree, which is a copy of a part of the host's file
 * tree. The mount point is a directory if the tree is a directory, otherwise an empty file. */
static bool make_place(int root, const struct tree *tree)
{
	struct stat status;

	if (fstat(tree->fd, &status) < 0 || !make_parents(root, tree->at))
		return false;
	if (S_ISDIR(status.st_mode))
		return mkdirat(root, tree->at, 0755) == 0 || errno == EEXIST;
	return mknodat(root, tree->at, S_IFREG | 0444, 0) == 0 || errno == EEXIST;
}

static bool attach(int tree, int directory, const char *path)
{
	return syscall(SYS_move_mount, tree, "", directory, path, FROM_EMPTY_PATH) == 0;
}

static bool fill(int root)
{
	/* Let other users enter the new directories, because QEMU may have another uid. */
	umask(S_IWGRP | S_IWOTH);
	for (unsigned i = 0; i < count; i++)
		if (!make_place(root, &trees[i]) || !attach(trees[i].fd, root, trees[i].at))
			return false;
	return symlinkat("/proc/self/fd", root, "dev/fd") == 0 &&
	       tree_limit(root, READ_ONLY | NO_SUID | NO_DEVICES | NO_EXECUTION);
}

/* Makes a file system the root of this process. pivot_root(2) mounts the old root on top of the new
 * one, and then the old root is unmounted. */
static bool enter(int root)
{
	return fchdir(root) == 0 && syscall(SYS_pivot_root, ".", ".") == 0 &&
	       umount2(".", MNT_DETACH) == 0 && chdir("/") == 0;
}

static void close_all(int root)
{
	while (count > 0)
		close(trees[--count].fd);
	if (root >= 0)
		close(root);
}

static bool replace(const struct options *options, int root)
{
	int error;

	if (root < 0 || !copy_all(&options->read, READ_ONLY | NO_DEVICES) ||
	    !copy_all(&options->devices, NO_EXECUTION) || !copy("/dev/null", NO_EXECUTION) ||
	    /* QEMU uses /proc/self through the link /dev/fd. It needs no other part of /proc. */
	    !copy("/proc/self", READ_ONLY | NO_DEVICES | NO_EXECUTION) ||
	    !attach(root, AT_FDCWD, covered))
		return false;
	if (fill(root) && enter(root))
		return true;
	error = errno;
	umount2(covered, MNT_DETACH);
	errno = error;
	return false;
}

const char *mounts_replace(const struct options *options, char detail[static DETAIL_SIZE])
{
	const char *reason, *unprotected;
	int root;

	(void)detail;
	/* Make all mounts private. Otherwise the mounts that this function makes would propagate to
	 * the host, and all processes there would see them. */
	if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		return strerror(errno);
	/* reopen_read_only fails if QEMU could still write to a file that it may only read. Change
	 * to the new root anyway, but report that the layer "mount" is missing. */
	unprotected = reopen_read_only(&options->files) && reopen_read_only(&options->disks) ?
			      NULL :
			      strerror(errno);
	root = make_root();
	reason = replace(options, root) ? unprotected : strerror(errno);
	close_all(root);
	return reason;
}

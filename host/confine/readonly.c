#include "readonly.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "mount_tree.h"

struct link {
	char path[32];
};

static struct link link_of(int fd)
{
	struct link link;

	snprintf(link.path, sizeof link.path, "/proc/self/fd/%d", fd);
	return link;
}

/* Returns whether a descriptor refers to a file in memory (memfd) that is sealed, so that no
 * process can write to it. */
static bool is_sealed(int fd)
{
	int seals = fcntl(fd, F_GET_SEALS);

	return seals >= 0 && (seals & F_SEAL_WRITE);
}

/* Makes a read-only copy of the mount of an open file, and returns a descriptor of the file in the
 * copy. The descriptor `fd` belongs to a mount of the host's mount namespace, which cannot be
 * copied from the new namespace. So this function looks the file up by its path in the new
 * namespace, and copies the mount there. It returns -1 if the path no longer exists there. */
static int copy_of(int fd)
{
	char path[PATH_MAX];
	ssize_t length = readlink(link_of(fd).path, path, sizeof path);

	if (length < 0 || (size_t)length == sizeof path)
		return -1;
	path[length] = 0;
	return tree_copy(path, READ_ONLY | NO_SUID | NO_DEVICES | NO_EXECUTION);
}

static bool is_same(int one, int other)
{
	struct stat first, second;

	if (fstat(one, &first) < 0 || fstat(other, &second) < 0)
		return false;
	errno = ESTALE;
	return first.st_dev == second.st_dev && first.st_ino == second.st_ino;
}

static bool replace(int fd, int tree)
{
	int opened = is_same(fd, tree) ? open(link_of(tree).path, O_RDONLY | O_CLOEXEC) : -1;
	bool done = opened >= 0 && dup2(opened, fd) == fd;
	int error = errno;

	if (opened >= 0)
		close(opened);
	errno = error;
	return done;
}

static bool protect(int fd)
{
	int tree, error;
	bool done;

	if (is_sealed(fd))
		return true;
	tree = copy_of(fd);
	if (tree < 0)
		return false;
	done = replace(fd, tree);
	error = errno;
	close(tree);
	errno = error;
	return done;
}

bool readonly_protect(const struct files *files)
{
	int error = 0;

	for (unsigned i = 0; i < files->count; i++)
		if (!files->read_only[i] && !protect(files->at[i]))
			error = errno;
	errno = error;
	return !error;
}

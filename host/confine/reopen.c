#include "reopen.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "mount_tree.h"

/* Descriptors of a user namespace, and of the files that set its uid map and its gid map; -1 if the
 * user namespace could not be made. */
static int namespace = -1, uids = -1, gids = -1;

static int open_of(pid_t process, const char *name, int flags)
{
	char path[64];

	snprintf(path, sizeof path, "/proc/%d/%s", (int)process, name);
	return open(path, flags | O_CLOEXEC);
}

void reopen_prepare(void)
{
	pid_t process = (pid_t)syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, NULL, NULL, NULL, NULL);

	if (process == 0)
		_exit(0);
	if (process < 0)
		return;
	/* Open the files of the cloned process in /proc before waitpid reaps it, because they no
	 * longer exist after that. */
	namespace = open_of(process, "ns/user", O_RDONLY);
	uids = open_of(process, "uid_map", O_WRONLY);
	gids = open_of(process, "gid_map", O_WRONLY);
	waitpid(process, NULL, 0);
}

static bool map(int file, unsigned inside, unsigned outside, unsigned number)
{
	return dprintf(file, "%u %u %u", inside, outside, number) > 0;
}

/* Sets the maps of the user namespace that reopen_prepare has made: uid 0 inside it is `uid`
 * outside it, and each gid inside it is the same gid outside it. */
static bool map_root(uid_t uid)
{
	return namespace >= 0 && map(uids, 0, uid, 1) && map(gids, 0, 0, UINT32_MAX);
}

static bool is_open_to_all(int file)
{
	struct stat status;

	return fstat(file, &status) == 0 && (status.st_mode & S_IROTH);
}

/* The path in /proc by which an open file can be opened again. */
struct link {
	char path[32];
};

static struct link link_of(int fd)
{
	struct link link;

	snprintf(link.path, sizeof link.path, "/proc/self/fd/%d", fd);
	return link;
}

/* Opens the file of a descriptor again, for reading, and closes the descriptor. */
static int reopen(int fd)
{
	int opened = open(link_of(fd).path, O_RDONLY | O_CLOEXEC);

	close(fd);
	return opened;
}

/* Makes the descriptor number `place` refer to the open file of `descriptor`, and closes
 * `descriptor`. Returns false, with errno, if that fails, or if `descriptor` is -1. */
static bool put(int descriptor, int place)
{
	bool done = descriptor >= 0 && dup2(descriptor, place) == place;

	if (descriptor >= 0)
		close(descriptor);
	return done;
}

/* Reopens a file in a copy of its mount, in which the files of root belong to `uid`. Fails if the
 * owner of the file is another user than root, because then the file cannot be opened in the copy,
 * or does not belong to `uid` there. */
static bool open_owned(int file, uid_t uid)
{
	int tree = tree_copy_owned(file, namespace), opened = tree < 0 ? -1 : reopen(tree);
	struct stat status;

	if (opened >= 0 && (fstat(opened, &status) < 0 || status.st_uid != uid)) {
		close(opened);
		return false;
	}
	return put(opened, file);
}

/* Copies the data of a file. The holes of a sparse file stay holes in the copy. */
static bool copy_data(int file, int copy, off_t size)
{
	off_t at = 0, end;

	for (;;) {
		at = lseek(file, at, SEEK_DATA);
		if (at < 0)
			return errno == ENXIO; /* no more data, only a hole */
		end = lseek(file, at, SEEK_HOLE);
		if (end < 0 || lseek(copy, at, SEEK_SET) < 0)
			return false;
		while (at < end)
			if (sendfile(copy, file, &at, (size_t)(end - at)) <= 0)
				return false;
		if (at >= size)
			return true;
	}
}

static bool fill(int copy, int file)
{
	struct stat status;

	return fstat(file, &status) == 0 && ftruncate(copy, status.st_size) == 0 &&
	       copy_data(file, copy, status.st_size) &&
	       fcntl(copy, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL) ==
		       0 &&
	       lseek(copy, 0, SEEK_SET) == 0;
}

/* Replaces the open file of a descriptor by a copy in memory. Through the descriptor, a process
 * with any uid can open the copy, and no process can write to it. */
static bool open_copy(int file)
{
	int copy = memfd_create("microvm-file", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	/* Ignore SIGXFSZ, so that writing a copy that exceeds the limit of file size fails with an
	 * error, instead of killing this process. */
	void (*before)(int) = signal(SIGXFSZ, SIG_IGN);
	bool done = copy >= 0 && fill(copy, file);

	signal(SIGXFSZ, before);
	if (done)
		return put(copy, file);
	if (copy >= 0)
		close(copy);
	return false;
}

bool reopen_files(struct options *options)
{
	struct files *files = &options->files;
	bool mapped = map_root(options->uid);

	for (unsigned i = 0; i < files->count; i++) {
		if (is_open_to_all(files->at[i]))
			continue;
		files->read_only[i] = mapped && open_owned(files->at[i], options->uid);
		if (files->read_only[i])
			continue;
		if (!open_copy(files->at[i]))
			return false;
		options->copied++;
	}
	return true;
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

	if (length < 0)
		return -1;
	if ((size_t)length == sizeof path) {
		errno = ENAMETOOLONG;
		return -1;
	}
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

static bool protect(int fd)
{
	int tree;

	if (is_sealed(fd))
		return true;
	tree = copy_of(fd);
	if (tree < 0)
		return false;
	if (is_same(fd, tree))
		return put(reopen(tree), fd);
	close(tree);
	return false;
}

bool reopen_read_only(const struct files *files)
{
	int error = 0;
	bool all = true;

	for (unsigned i = 0; i < files->count; i++)
		if (!files->read_only[i] && !protect(files->at[i])) {
			error = errno;
			all = false;
		}
	errno = error;
	return all;
}

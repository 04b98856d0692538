/* Finds or creates the folder into which `carry`, the guest's program that copies files, writes a
 * tree from the host. */
#define _GNU_SOURCE /* makes the headers declare O_PATH */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "real_path.h"
#include "target.h"

/* Gives a new folder to the owner that the host has requested. Checks first that this process owns
 * the folder, because another user may have replaced it. */
static bool give(const struct target *target, int parent, const char *name)
{
	int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	struct stat status;
	bool done;

	if (fd < 0 || fstat(fd, &status) < 0)
		return false;
	errno = EPERM;
	done = status.st_uid == geteuid() && fchown(fd, target->uid, target->gid) == 0;
	close(fd);
	return done;
}

/* Creates the folder `name` in `parent`. */
static bool make_folder(const struct target *target, int parent, const char *name)
{
	return mkdirat(parent, name, 0755) == 0 && (!target->owned || give(target, parent, name));
}

/* Opens the folder `name` in `parent`, and creates it first if it does not exist. On success,
 * closes `parent` and returns the descriptor of the folder; otherwise returns -1. */
static int enter(const struct target *target, int parent, const char *name)
{
	bool done = make_folder(target, parent, name) || errno == EEXIST;
	int fd = done ? openat(parent, name, O_PATH | O_DIRECTORY | O_CLOEXEC) : -1;

	if (fd >= 0)
		close(parent);
	return fd;
}

/* Creates the missing parent folders of a path, as `mkdir -p` does, and returns a descriptor of the
 * last one. Opens each folder relative to its parent's descriptor, so that another user cannot
 * divert the path by a link meanwhile. After a failure, returns -1, and `path` is cut off behind
 * the folder that could not be created or opened. */
static int make_folders(const struct target *target, char *path)
{
	int fd = open(*path == '/' ? "/" : ".", O_PATH | O_DIRECTORY | O_CLOEXEC);
	char *name = path;

	for (char *slash = strchr(name, '/'); fd >= 0 && slash; slash = strchr(name, '/')) {
		*slash = 0;
		if (*name)
			fd = enter(target, fd, name);
		if (fd >= 0)
			*slash = '/';
		name = slash + 1;
	}
	return fd;
}

static bool exists_as_folder(const char *path)
{
	struct stat status;

	return stat(path, &status) == 0 && S_ISDIR(status.st_mode);
}

/* Replaces the path of a file that exists by its path without symbolic links. The path stays as it
 * is if the file has no other path. */
static void resolve(char path[static PATH_MAX])
{
	int fd = open(path, O_PATH | O_CLOEXEC);
	const char *resolved;

	if (fd < 0)
		return;
	if ((resolved = real_path(fd)))
		strcpy(path, resolved);
	close(fd);
}

/* Removes the slashes at the end of a path. */
static void strip(char *path)
{
	for (size_t size = strlen(path); size > 1 && path[size - 1] == '/'; size--)
		path[size - 1] = 0;
}

/* Returns the last component of a path, or `.` if there is none. */
static const char *last_component(const char *path)
{
	const char *slash = strrchr(path, '/');

	return !slash ? path : slash[1] ? slash + 1 : ".";
}

/* The top of a tree is the file or the outermost folder that the host sends. `is_folder` tells
 * whether it is a folder. Sets `path` to the path at which the top is written. As with cp, if the
 * requested path is an existing folder, the top is written into this folder. Returns 0 or an error
 * number. */
static int find(const struct target *target, bool is_folder, char path[static PATH_MAX])
{
	size_t size = strlen(target->path);
	bool slash = size > 0 && target->path[size - 1] == '/';

	memcpy(path, target->path, size + 1);
	if (size == 0)
		return ENOENT;
	if (*target->name && (slash || exists_as_folder(path))) {
		if (size + 1 + strlen(target->name) >= PATH_MAX)
			return ENAMETOOLONG;
		if (!slash)
			path[size++] = '/';
		strcpy(path + size, target->name);
	} else if (slash && !is_folder) {
		return EISDIR;
	}
	strip(path);
	/* Resolve symbolic links in the requested path now. Links in the tree that is written are
	 * not followed later. */
	resolve(path);
	return 0;
}

int destination_open(const struct target *target, bool is_folder, struct destination *destination)
{
	char *path = destination->path;
	int error = find(target, is_folder, path), fd;

	errno = error;
	fd = error ? -1 : make_folders(target, path);
	if (fd >= 0)
		destination->name = last_component(path);
	return fd;
}

bool destination_make(const struct target *target, bool parents, bool may_exist,
		      struct destination *destination)
{
	char *path = destination->path;
	int fd = AT_FDCWD;
	bool done;

	strcpy(path, target->path);
	strip(path);
	if (parents && (fd = make_folders(target, path)) < 0)
		return false;
	destination->name = parents ? last_component(path) : path;
	if (make_folder(target, fd, destination->name))
		return true;
	if (errno != EEXIST)
		return false;
	done = may_exist && exists_as_folder(path);
	errno = EEXIST;
	return done;
}

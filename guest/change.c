#define _GNU_SOURCE /* makes the headers declare renameat */
#include "change.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "exchange.h"
#include "remove.h"

static _Noreturn void end(bool done, const char *path)
{
	if (done)
		end_done();
	end_failed(FILES_SUBJECT_PATH, errno, path);
}

/* Returns whether the last component of a path is `..`. */
static bool ends_in_parent(const char *path)
{
	size_t size = strlen(path);

	while (size > 0 && path[size - 1] == '/')
		size--;
	return size >= 2 && memcmp(path + size - 2, "..", 2) == 0 &&
	       (size == 2 || path[size - 3] == '/');
}

_Noreturn void change_make_folder(const struct target *target, bool parents, bool may_exist)
{
	static struct destination folder;

	end(destination_make(target, parents, may_exist, &folder), folder.path);
}

_Noreturn void change_remove(const char *path, bool folders, bool may_miss)
{
	const struct removal *removal;

	if (unlinkat(AT_FDCWD, path, 0) == 0 || (may_miss && errno == ENOENT))
		end_done();
	if (!folders || errno != EISDIR)
		end(false, path);
	/* The kernel refuses to remove `/` and `.`. But for `..`, it only reports that the folder is not
	 * empty, so `remove_tree` would empty it. */
	errno = EINVAL;
	if (ends_in_parent(path))
		end(false, path);
	removal = remove_tree(AT_FDCWD, path);
	errno = removal->error;
	end(removal->error == 0, removal->trail.path);
}

_Noreturn void change_rename(const char *path, const char *new_path)
{
	bool done = renameat(AT_FDCWD, path, AT_FDCWD, new_path) == 0;
	int error = errno;
	struct stat status;
	bool exists = lstat(path, &status) == 0;

	errno = error;
	end(done, exists ? new_path : path);
}

#define _GNU_SOURCE /* makes the headers declare O_DIRECTORY */
#include "remove.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "entry.h"

/* A folder that is being emptied. */
struct level {
	struct folder folder;
	const char *name; /* name in the folder that contains it */
	size_t trail;	  /* length of its path */
};

/* The nested folders that are being emptied. `above` is the folder that contains the outermost. */
static struct level levels[FILES_MAX_DEPTH];
static size_t depth;
static int above;

/* The first failure: its error number, or 0 if there is none, and the path of its file. */
static struct removal removal;

static int innermost(void)
{
	return depth > 0 ? levels[depth - 1].folder.fd : above;
}

/* Sets the path for an error message: the innermost folder's path and a name in that folder. */
static void set_trail(const char *name)
{
	if (removal.error == 0)
		trail_set(&removal.trail, depth > 0 ? levels[depth - 1].trail : 0, name);
}

static void note_failure(void)
{
	if (removal.error == 0)
		removal.error = errno;
}

/* Removes a file, a link or an empty folder. A folder that is not empty fails with ENOTEMPTY, and a
 * mount point with EBUSY. */
static bool remove_one(const char *name)
{
	return unlinkat(innermost(), name, 0) == 0 ||
	       (errno == EISDIR && unlinkat(innermost(), name, AT_REMOVEDIR) == 0);
}

/* Opens a folder to empty it. */
static bool enter(const char *name)
{
	struct level *level = &levels[depth];
	int fd;

	errno = ENAMETOOLONG;
	if (depth == FILES_MAX_DEPTH)
		return false;
	fd = openat(innermost(), name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return false;
	level->folder.fd = fd;
	level->folder.at = level->folder.end = 0;
	level->name = name;
	level->trail = removal.trail.size;
	depth++;
	return true;
}

/* Removes the innermost folder, whose entries were removed as far as possible. */
static void leave(void)
{
	struct level *level = &levels[--depth];

	close(level->folder.fd);
	set_trail(level->name);
	if (unlinkat(innermost(), level->name, AT_REMOVEDIR) < 0)
		note_failure();
}

/* Removes an entry of the innermost folder. Another process may have removed it already. */
static void remove_member(const char *name)
{
	set_trail(name);
	if (!remove_one(name) && errno != ENOENT && (errno != ENOTEMPTY || !enter(name)))
		note_failure();
}

const struct removal *remove_tree(int folder, const char *path)
{
	const char *name;

	above = folder;
	removal.error = 0;
	set_trail(path);
	if (!remove_one(path) && (errno != ENOTEMPTY || !enter(path)))
		note_failure();
	while (depth > 0) {
		if ((name = folder_next(&levels[depth - 1].folder))) {
			remove_member(name);
			continue;
		}
		if (errno != ENOENT)
			note_failure();
		leave();
	}
	return &removal;
}

#define _GNU_SOURCE /* makes the headers declare O_PATH */
#include "real_path.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "decimal.h"

enum { MAX_LINKS = 40 }; /* maximum number of links in a path, as in the kernel */

const char *real_path(int fd)
{
	static const char folder[] = "/proc/self/fd/";
	static char path[PATH_MAX];
	char room[sizeof folder + DIGITS];
	struct stat status, other;
	ssize_t size = readlinkat(AT_FDCWD, numbered(room, folder, (uint64_t)fd), path,
				  sizeof path - 1);

	if (size < 0)
		return NULL;
	path[size] = 0;
	/* If the file has no path, the kernel returns a text such as `pipe:[1]`, so check whether the
	 * text is a path of this file. */
	if (fstat(fd, &status) < 0 || stat(path, &other) < 0)
		return NULL;
	errno = ENOENT;
	return status.st_dev == other.st_dev && status.st_ino == other.st_ino ? path : NULL;
}

/* Returns the absolute path of the current folder, or NULL with errno. */
static const char *current_folder(void)
{
	const char *path;
	int fd = open(".", O_PATH | O_CLOEXEC);

	if (fd < 0)
		return NULL;
	path = real_path(fd);
	close(fd);
	return path;
}

/* Cuts off the last component of an absolute path. */
static void cut(char *path)
{
	char *slash = strrchr(path, '/');

	slash[slash == path] = 0;
}

/* Appends a component of `length` characters to a path. Returns false if the path gets too long. */
static bool append(char path[static PATH_MAX], const char *name, size_t length)
{
	size_t size = strlen(path);

	if (size + 1 + length >= PATH_MAX)
		return false;
	if (path[size - 1] != '/')
		path[size++] = '/';
	memcpy(path + size, name, length);
	path[size + length] = 0;
	return true;
}

/* Writes the target of a link, and then `rest`, to `to`, where `rest` may lie. Returns 0 if `link` is
 * no link or is missing, and -1 if the text is too long. */
static int substitute(char to[static PATH_MAX], const char *link, const char *rest)
{
	static char text[PATH_MAX];
	ssize_t size = readlinkat(AT_FDCWD, link, text, sizeof text);

	if (size < 0)
		return 0;
	if ((size_t)size + strlen(rest) >= sizeof text)
		return -1;
	strcpy(text + size, rest);
	strcpy(to, text);
	return 1;
}

const char *resolve_path(const char *path)
{
	static char resolved[PATH_MAX], rest[PATH_MAX];
	const char *start = *path == '/' ? "/" : current_folder();
	int links = 0, followed;
	size_t length;

	errno = *path ? errno : ENOENT;
	if (!*path || !start)
		return NULL;
	strcpy(resolved, start);
	strcpy(rest, path);
	for (char *next = rest; *next; next += length) {
		next += *next == '/';
		length = strcspn(next, "/");
		if (length == 0 || (length == 1 && *next == '.'))
			continue;
		if (length == 2 && next[0] == '.' && next[1] == '.') {
			cut(resolved);
			continue;
		}
		errno = ENAMETOOLONG;
		if (!append(resolved, next, length) ||
		    (followed = substitute(rest, resolved, next + length)) < 0)
			return NULL;
		if (!followed)
			continue;
		errno = ELOOP;
		if (++links > MAX_LINKS)
			return NULL;
		cut(resolved);
		if (*rest == '/')
			strcpy(resolved, "/");
		next = rest;
		length = 0;
	}
	return resolved;
}

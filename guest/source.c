/* Sends files to the host: the status of a file, the entries of a folder, or a whole tree. */
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "entry.h"
#include "exchange.h"
#include "pattern.h"
#include "real_path.h"

/* A folder on the path of the current file. Its entries are being sent. */
struct level {
	size_t trail;	     /* length of the folder's path */
	const char *pattern; /* components for the entries of the folder, if a pattern is matched */
	struct folder folder;
};

static struct level levels[FILES_MAX_DEPTH];
static size_t depth;
static struct trail trail;

static void need(bool done)
{
	if (!done)
		end_failed(FILES_SUBJECT_PATH, errno, trail.path);
}

static void enter(int fd)
{
	if (depth == FILES_MAX_DEPTH)
		errno = ENAMETOOLONG;
	need(depth < FILES_MAX_DEPTH);
	levels[depth].trail = trail.size;
	levels[depth].folder.fd = fd;
	levels[depth].folder.at = levels[depth].folder.end = 0;
	depth++;
}

/* Returns the name of the next entry of the innermost folder, or NULL if there are no more. */
static const char *next_name(void)
{
	struct level *level = &levels[depth - 1];
	const char *name = folder_next(&level->folder);

	trail_set(&trail, level->trail, name ? name : "");
	need(name || errno == ENOENT);
	return name;
}

/* Sends an `entry` frame with the status of a file, or with the target of a symbolic link. Does not
 * send the content of the file. */
static void send_bare(int folder, const char *path, const char *name, const struct stat *status)
{
	static char target[FILES_ENTRY_TARGET_MAX + 1];
	ssize_t size = 0;

	if (S_ISLNK(status->st_mode)) {
		size = readlinkat(folder, path, target, sizeof target - 1);
		if (size < 0 && (errno == ENOENT || errno == EINVAL))
			return;
		need(size >= 0);
	}
	target[size] = 0;
	send_entry(status, name, target);
}

/* Sends the content of an open file. The content ends at end of file, or when an endless file, such
 * as /proc/kmsg, has no more data for now. */
static void send_content(int fd)
{
	ssize_t size;

	while ((size = read(fd, data_room(), CHUNK)) != 0) {
		if (size > 0)
			send_data((size_t)size);
		else if (errno == EAGAIN)
			break;
		else
			need(errno == EINTR);
	}
	send_whole();
	close(fd);
}

/* Sends an `entry` frame for an open file, and then the file's content. For a folder, sends the
 * frame and begins to read the folder. */
static void send_open(int fd, const struct stat *status, const char *name)
{
	send_entry(status, name, "");
	if (S_ISDIR(status->st_mode))
		enter(fd);
	else
		send_content(fd);
}

static void send_member(int folder, const char *name)
{
	struct stat status;
	int fd;

	if (fstatat(folder, name, &status, AT_SYMLINK_NOFOLLOW) < 0) {
		need(errno == ENOENT); /* the file was removed while its folder was read */
		return;
	}
	if (S_ISLNK(status.st_mode))
		send_bare(folder, name, name, &status);
	if (!S_ISREG(status.st_mode) && !S_ISDIR(status.st_mode))
		return;
	/* Open with O_NONBLOCK, because the file may have been replaced by now, for example by a
	 * FIFO, on which open would block. */
	fd = openat(folder, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	if (fd < 0 && (errno == ENOENT || errno == ELOOP || errno == ENXIO))
		return;
	need(fd >= 0 && fstat(fd, &status) == 0);
	if (S_ISREG(status.st_mode) || S_ISDIR(status.st_mode))
		send_open(fd, &status, name);
	else
		close(fd);
}

_Noreturn void source_stat(const char *path, bool follow)
{
	struct stat status;

	trail_set(&trail, 0, path);
	need(fstatat(AT_FDCWD, path, &status, follow ? 0 : AT_SYMLINK_NOFOLLOW) == 0);
	send_bare(AT_FDCWD, path, "", &status);
	end_done();
}

_Noreturn void source_list(const char *path, bool follow)
{
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct stat status;
	const char *name;

	trail_set(&trail, 0, path);
	need(fd >= 0);
	enter(fd);
	while ((name = next_name()))
		if ((follow && fstatat(fd, name, &status, 0) == 0) ||
		    fstatat(fd, name, &status, AT_SYMLINK_NOFOLLOW) == 0)
			send_bare(fd, name, name, &status);
		else
			need(errno == ENOENT);
	end_done();
}

/* Sets the trail to the path of an entry. The guest sends this path, so it must not be truncated. */
static void follow(size_t folder, const char *name, size_t size)
{
	static char component[FILES_REQUEST_NAME_MAX + 1];

	if (size >= sizeof component || folder + 1 + size > FILES_ENTRY_TARGET_MAX)
		errno = ENAMETOOLONG;
	need(size < sizeof component && folder + 1 + size <= FILES_ENTRY_TARGET_MAX);
	memcpy(component, name, size);
	component[size] = 0;
	trail_set(&trail, folder, component);
}

/* Sends the file with the current path, if it exists. `base` is the length of the path of the
 * folder to which the sent path is relative. */
static void send_match(size_t base)
{
	const char *path = trail.path + base;
	struct stat status;

	while (*path == '/')
		path++;
	if (stat(trail.path, &status) == 0 || lstat(trail.path, &status) == 0)
		send_entry(&status, "", path);
}

static void match_below(size_t base, const char *pattern);

/* Opens the folder with the current path. Its entries will be compared with the first component of
 * the pattern. Ignores a folder that cannot be opened, unless it is the outermost one. */
static void enter_matching(size_t base, const char *pattern, bool links)
{
	int flags = O_RDONLY | O_DIRECTORY | O_NONBLOCK | O_CLOEXEC;
	int fd = open(trail.path, links ? flags : flags | O_NOFOLLOW);

	need(fd >= 0 || trail.size > base);
	if (fd < 0)
		return;
	enter(fd);
	levels[depth - 1].trail = trail.size;
	levels[depth - 1].pattern = pattern;
	/* The component for any number of folders matches no folder, too. */
	if (pattern_is_deep(pattern) && *pattern_next(pattern))
		match_below(base, pattern_next(pattern));
}

/* Compares the files below the current path with a pattern: sends the file to which components
 * without special characters lead, or opens the folder for the next other component. */
static void match_below(size_t base, const char *pattern)
{
	while (*pattern && !pattern_is_special(pattern)) {
		follow(trail.size, pattern, pattern_size(pattern));
		pattern = pattern_next(pattern);
	}
	if (*pattern)
		enter_matching(base, pattern, true);
	else
		send_match(base);
}

/* Compares the entry `name` of the innermost folder with the folder's pattern. The trail is the
 * path of the entry. */
static void match_entry(size_t base, const char *name)
{
	const char *pattern = levels[depth - 1].pattern;
	const char *next = pattern_next(pattern);

	if (!pattern_matches(pattern, name))
		return;
	if (!*next)
		send_match(base);
	if (pattern_is_deep(pattern))
		enter_matching(base, pattern, false);
	else if (*next)
		match_below(base, next);
}

_Noreturn void source_match(const char *path, const char *pattern)
{
	const char *name;
	size_t base;

	trail_set(&trail, 0, path);
	base = trail.size;
	match_below(base, pattern);
	while (depth > 0) {
		if ((name = next_name())) {
			follow(levels[depth - 1].trail, name, strlen(name));
			match_entry(base, name);
		} else {
			close(levels[--depth].folder.fd);
		}
	}
	end_done();
}

_Noreturn void source_resolve(const char *path)
{
	struct stat status = { 0 };
	const char *resolved = resolve_path(path);

	trail_set(&trail, 0, path);
	need(resolved);
	if (stat(resolved, &status) < 0)
		memset(&status, 0, sizeof status);
	send_entry(&status, "", resolved);
	end_done();
}

_Noreturn void source_get(const char *path, bool folders)
{
	int fd = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	struct stat status;
	const char *name;

	trail_set(&trail, 0, path);
	need(fd >= 0 && fstat(fd, &status) == 0);
	if (S_ISDIR(status.st_mode) && !folders)
		errno = EISDIR;
	need(!S_ISDIR(status.st_mode) || folders);
	/* Devices and FIFOs may have no end, and a read of a FIFO may wait forever. */
	if (!S_ISDIR(status.st_mode) && !S_ISREG(status.st_mode)) {
		send_entry(&status, "", "");
		end_done();
	}
	send_open(fd, &status, "");
	while (depth > 0) {
		if ((name = next_name())) {
			send_member(levels[depth - 1].folder.fd, name);
		} else {
			close(levels[--depth].folder.fd);
			send_whole();
		}
	}
	end_done();
}

#include "source.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "entry.h"
#include "exchange.h"

enum { ENTRIES_SIZE = 4096 };

/* A folder on the path of the current file. Its entries are being sent. */
struct level {
	int fd;
	size_t trail; /* length of the folder's path */
	size_t at, end;
	_Alignas(struct entry) char entries[ENTRIES_SIZE];
};

static struct level levels[FILES_MAX_DEPTH];
static size_t depth;
static struct trail trail;

static void need(bool done)
{
	if (!done)
		end_failed(FILES_SUBJECT_PATH, errno, trail.path);
}

/* Returns whether the last call failed because the file does not exist. The callers leave such a
 * file out, because it was removed while its folder was read. */
static bool is_gone(void)
{
	return errno == ENOENT;
}

static void enter(int fd)
{
	if (depth == FILES_MAX_DEPTH)
		errno = ENAMETOOLONG;
	need(depth < FILES_MAX_DEPTH);
	levels[depth].fd = fd;
	levels[depth].trail = trail.size;
	levels[depth].at = levels[depth].end = 0;
	depth++;
}

static void leave(void)
{
	close(levels[--depth].fd);
}

/* Returns the name of the next entry of the innermost folder, or NULL if there are no more. */
static const char *next_name(void)
{
	struct level *level = &levels[depth - 1];
	const struct entry *entry;

	do {
		if (level->at == level->end) {
			long size = syscall(SYS_getdents64, level->fd, level->entries,
					    ENTRIES_SIZE);

			trail_set(&trail, level->trail, "");
			need(size >= 0 || is_gone());
			if (size <= 0)
				return NULL;
			level->at = 0;
			level->end = (size_t)size;
		}
		entry = (const struct entry *)(const void *)(level->entries + level->at);
		level->at += entry->length;
	} while (strcmp(entry->name, ".") == 0 || strcmp(entry->name, "..") == 0);
	trail_set(&trail, level->trail, entry->name);
	return entry->name;
}

/* Sends an `entry` frame with the status of a file, or with the target of a symbolic link. Does not
 * send the content of the file. */
static void send_bare(int folder, const char *path, const char *name, const struct stat *status)
{
	static char target[FILES_ENTRY_TARGET_MAX + 1];
	ssize_t size = 0;

	if (S_ISLNK(status->st_mode)) {
		size = readlinkat(folder, path, target, sizeof target - 1);
		if (size < 0 && (is_gone() || errno == EINVAL))
			return;
		need(size >= 0);
	}
	target[size] = 0;
	send_entry(status, name, target);
}

/* Waits until a FIFO has data, or until its last writer has closed it. If it had no writer yet,
 * waits for the first one. */
static void await_writer(int fd)
{
	struct pollfd fifo = { .fd = fd, .events = POLLIN };

	need(poll(&fifo, 1, -1) >= 0 || errno == EINTR);
}

/* Sends the content of an open file. The content ends at end of file, or when a device has no more
 * data for now. Only for a FIFO, this function waits for more data, until the last writer has
 * closed the FIFO. */
static void send_content(int fd, bool fifo)
{
	ssize_t size;

	while ((size = read(fd, data_room(), CHUNK)) != 0) {
		if (size > 0)
			send_data((size_t)size);
		else if (errno == EAGAIN && fifo)
			await_writer(fd);
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
		send_content(fd, S_ISFIFO(status->st_mode));
}

static void send_member(int folder, const char *name)
{
	struct stat status;
	int fd;

	if (fstatat(folder, name, &status, AT_SYMLINK_NOFOLLOW) < 0) {
		need(is_gone());
		return;
	}
	if (S_ISLNK(status.st_mode))
		send_bare(folder, name, name, &status);
	if (!S_ISREG(status.st_mode) && !S_ISDIR(status.st_mode))
		return;
	/* Open with O_NONBLOCK, because the file may have been replaced by now, for example by a
	 * FIFO, on which open would block. */
	fd = openat(folder, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	if (fd < 0 && (is_gone() || errno == ELOOP || errno == ENXIO))
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

_Noreturn void source_list(const char *path)
{
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct stat status;
	const char *name;

	trail_set(&trail, 0, path);
	need(fd >= 0);
	enter(fd);
	while ((name = next_name()))
		if (fstatat(fd, name, &status, AT_SYMLINK_NOFOLLOW) == 0)
			send_bare(fd, name, name, &status);
		else
			need(is_gone());
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
	if (folders && !S_ISDIR(status.st_mode) && !S_ISREG(status.st_mode)) {
		send_entry(&status, "", "");
		end_done();
	}
	if (S_ISFIFO(status.st_mode))
		await_writer(fd);
	send_open(fd, &status, "");
	while (depth > 0) {
		if ((name = next_name())) {
			send_member(levels[depth - 1].fd, name);
		} else {
			leave();
			send_whole();
		}
	}
	end_done();
}

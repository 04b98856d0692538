#define _GNU_SOURCE /* makes the headers declare O_PATH */
#include "target.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "decimal.h"
#include "exchange.h"
#include "remove.h"

#define PREFIX ".microvm-"

enum { TEMPORARY_SIZE = sizeof PREFIX + DIGITS, TEMPORARIES_MAX = 1000 };

/* A folder on the path of the current file. */
struct level {
	int fd;
	size_t trail; /* length of the folder's path */
	bool made;
	uint32_t mode;
	int64_t mtime;
};

/* A file, or the outermost folder of the tree, that is being written. It has a temporary name until
 * it is complete. */
struct part {
	char temporary[TEMPORARY_SIZE]; /* temporary name; empty if there is none */
	char name[PATH_MAX];
};

static const struct target *target;
/* The folders on the path of the current file. The first one existed before, and contains the file
 * or the outermost folder that the host sends. */
static struct level levels[FILES_MAX_DEPTH + 1];
static size_t depth;
static struct trail trail;
static struct part file_part, folder_part;
static struct {
	int fd;		    /* descriptor of the file; -1 if no file is being written */
	bool is_new;	    /* true for a new file, false if an existing one is overwritten */
	bool was_there;	    /* true if a regular file of the same name existed before */
	struct stat before; /* status of the regular file that existed before, if any */
	uint32_t mode;
	int64_t mtime;
} file = { .fd = -1 };

static struct level *innermost(void)
{
	return &levels[depth - 1];
}

/* Removes the incomplete file and the incomplete folder that have temporary names. */
static void discard(void)
{
	if (file.fd >= 0 && *file_part.temporary)
		unlinkat(innermost()->fd, file_part.temporary, 0);
	if (*folder_part.temporary)
		remove_tree(levels[0].fd, folder_part.temporary);
}

static void need(bool done)
{
	int error = errno;

	if (done)
		return;
	discard();
	end_failed(FILES_SUBJECT_PATH, error, trail.path);
}

static void need_not(bool wrong, int error)
{
	errno = error;
	need(!wrong);
}

/* Exits with a failure, because the host has disconnected or violates the protocol. */
static _Noreturn void give_up(void)
{
	discard();
	exit(EXIT_FAILURE);
}

static void next_temporary(struct part *part)
{
	static uint32_t count;
	char number[DIGITS + 1];

	strcpy(part->temporary, PREFIX);
	strcat(part->temporary, decimal(number, (uint64_t)getpid() << 32 | count++));
}

static struct timespec time_of(int64_t mtime)
{
	const int64_t second = 1000000000;
	struct timespec time = { .tv_sec = mtime / second, .tv_nsec = mtime % second };

	if (mtime == FILES_NOW)
		return (struct timespec){ .tv_nsec = UTIME_NOW };
	if (time.tv_nsec < 0) {
		time.tv_sec--;
		time.tv_nsec += second;
	}
	return time;
}

/* Sets the modification time of a file. Failures are ignored, because only the owner of a file may
 * set its time, and some file systems store no times. */
static void set_time(int fd, int64_t mtime)
{
	const struct timespec times[2] = { { .tv_nsec = UTIME_OMIT }, time_of(mtime) };

	(void)futimens(fd, times);
}

/* Sets the owner, the mode and the time of an open file, in this order, because chown clears bits
 * of the mode. */
static void dress(int fd, uint32_t mode, int64_t mtime)
{
	need(!target->owned || fchown(fd, target->uid, target->gid) == 0);
	need(fchmod(fd, mode & 07777) == 0);
	set_time(fd, mtime);
}

static void open_new(const char *name)
{
	file.fd = openat(innermost()->fd, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	file.is_new = true;
}

/* Creates a file under a temporary name, which is later changed to `name`. */
static bool open_beside(const char *name)
{
	for (int i = 0; i < TEMPORARIES_MAX; i++) {
		next_temporary(&file_part);
		open_new(file_part.temporary);
		if (file.fd >= 0 || errno != EEXIST)
			break;
	}
	strcpy(file_part.name, name);
	return file.fd >= 0;
}

/* Sets the owner and the mode of a file that existed before, if the request asks for them. */
static void adapt(void)
{
	need(!target->owned || fchown(file.fd, target->uid, target->gid) == 0);
	if (target->mode_rule != FILES_MODE_RULE_KEEP)
		need(fchmod(file.fd, file.mode & 07777) == 0 ||
		     (target->mode_rule == FILES_MODE_RULE_PREFER && errno == EPERM));
}

/* Opens an existing file to overwrite it in place. Sets its owner and its mode before its old
 * content is lost, so that the file is unchanged if the user may not set them. */
static void open_existing(const char *name, int flags)
{
	/* If the path that the host has requested is itself a link, such as /dev/stdout, follow it.
	 * Links inside a folder that the host sends are never followed. */
	int nofollow = depth > 1 ? O_NOFOLLOW : 0;

	*file_part.temporary = 0;
	file.is_new = false;
	file.fd = openat(innermost()->fd, name, O_WRONLY | O_NOCTTY | O_CLOEXEC | nofollow | flags,
			 0644);
	need(file.fd >= 0 && fstat(file.fd, &file.before) == 0);
	file.was_there = S_ISREG(file.before.st_mode);
	if (file.was_there) {
		adapt();
		need(ftruncate(file.fd, 0) == 0);
	}
}

static bool is_link(const char *name)
{
	struct stat status;

	return fstatat(innermost()->fd, name, &status, AT_SYMLINK_NOFOLLOW) == 0 &&
	       S_ISLNK(status.st_mode);
}

/* Opens the file `name` of the current folder for writing: the existing file, to overwrite it in
 * place, or a new file if none exists or the existing one is to be replaced. */
static void open_named(const char *name)
{
	int nofollow = depth > 1 ? AT_SYMLINK_NOFOLLOW : 0;
	bool exists = fstatat(innermost()->fd, name, &file.before, nofollow) == 0;
	uint32_t type = exists ? file.before.st_mode & S_IFMT : 0;

	need_not(type == S_IFDIR, EISDIR);
	file.was_there = type == S_IFREG;
	if (exists && type != S_IFLNK && !(file.was_there && target->replace))
		open_existing(name, 0);
	else if (!exists && depth == 1 && !target->replace && is_link(name))
		open_existing(name, O_CREAT);
	else
		need(open_beside(name));
}

static void begin_file(const char *name, const struct files_entry *entry)
{
	file.mode = entry->mode;
	file.mtime = entry->mtime;
	if (*folder_part.temporary) {
		/* The file needs no temporary name, because a folder around it has one. */
		*file_part.temporary = 0;
		file.was_there = false;
		open_new(name);
		need(file.fd >= 0);
	} else {
		open_named(name);
	}
}

static void write_file(size_t size)
{
	enum received how = receive_data(file.fd, size);

	if (how == NO_MORE)
		give_up();
	need(how == RECEIVED);
}

static void end_file(void)
{
	int folder = innermost()->fd, fd = file.fd;
	bool keep = file.was_there && target->mode_rule == FILES_MODE_RULE_KEEP;

	if (file.is_new) {
		/* Give the new file the owner of the file that it replaces. Ignore a failure,
		 * because only root may change the owner. */
		if (file.was_there && !target->owned)
			(void)!fchown(fd, file.before.st_uid, file.before.st_gid);
		dress(fd, keep ? file.before.st_mode : file.mode, file.mtime);
	} else if (file.was_there) {
		adapt(); /* set the mode again, because a write clears bits of it */
		set_time(fd, file.mtime);
	}
	need(close(fd) == 0);
	if (*file_part.temporary)
		need(renameat(folder, file_part.temporary, folder, file_part.name) == 0);
	file.fd = -1;
}

/* Creates a symbolic link, which replaces an existing file of the same name in one step. */
static void put_symlink(const char *name, const struct files_entry *entry)
{
	static char leads_to[FILES_ENTRY_TARGET_MAX + 1];
	int folder = innermost()->fd;
	struct part link;
	int error;
	bool done;

	copy_text(leads_to, &entry->target);
	next_temporary(&link);
	need(symlinkat(leads_to, folder, link.temporary) == 0);
	done = (!target->owned || fchownat(folder, link.temporary, target->uid, target->gid,
					   AT_SYMLINK_NOFOLLOW) == 0) &&
	       renameat(folder, link.temporary, folder, name) == 0;
	error = errno;
	if (!done)
		unlinkat(folder, link.temporary, 0);
	errno = error;
	need(done);
}

static void begin_folder(const char *name, const struct files_entry *entry)
{
	struct level *level = &levels[depth];
	int parent = innermost()->fd;
	struct part part;
	bool fresh = depth == 1 && faccessat(parent, name, F_OK, 0) < 0;

	need_not(depth > FILES_MAX_DEPTH, ENAMETOOLONG);
	if (fresh) {
		next_temporary(&part);
		need(mkdirat(parent, part.temporary, 0700) == 0);
		strcpy(folder_part.name, name);
		name = strcpy(folder_part.temporary, part.temporary);
	}
	level->made = fresh || mkdirat(parent, name, 0700) == 0;
	need(level->made || errno == EEXIST);
	level->fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	need(level->fd >= 0);
	level->trail = trail.size;
	level->mode = entry->mode;
	level->mtime = entry->mtime;
	depth++;
}

static void end_folder(void)
{
	struct level *level = innermost();

	trail_set(&trail, level->trail, "");
	if (level->made)
		dress(level->fd, level->mode, level->mtime);
	close(level->fd);
	depth--;
	if (depth == 1 && *folder_part.temporary) {
		need(renameat(levels[0].fd, folder_part.temporary, levels[0].fd,
			      folder_part.name) == 0);
		*folder_part.temporary = 0;
	}
}

/* Returns whether a name from the host is a single component of a path, which cannot lead to
 * another folder. */
static bool is_name(const char *name)
{
	return *name && !strchr(name, '/') && strcmp(name, ".") != 0 && strcmp(name, "..") != 0;
}

static void put_entry(const char *name, const struct files_entry *entry)
{
	switch (entry->mode & S_IFMT) {
	case S_IFREG:
		begin_file(name, entry);
		break;
	case S_IFDIR:
		begin_folder(name, entry);
		break;
	case S_IFLNK:
		put_symlink(name, entry);
		break;
	default:
		give_up();
	}
}

static void put_member(const struct files_entry *entry)
{
	static char name[FILES_ENTRY_NAME_MAX + 1];

	copy_text(name, &entry->name);
	if (!is_name(name))
		give_up();
	trail_set(&trail, innermost()->trail, name);
	put_entry(name, entry);
}

/* Opens the folder that will contain the file or the outermost folder that the host sends. Returns
 * the name that the file or folder will have there. */
static const char *open_destination(bool folder)
{
	static struct destination destination;

	levels[0].fd = destination_open(target, folder, &destination);
	trail_set(&trail, 0, destination.path);
	need(levels[0].fd >= 0);
	depth = 1;
	return destination.name;
}

_Noreturn void target_put(const struct target *what)
{
	enum files_type type;
	union files_body body;

	target = what;
	if (!receive(&type, &body))
		give_up();
	put_entry(open_destination(S_ISDIR(body.entry.mode)), &body.entry);
	while (is_incomplete()) {
		if (!receive(&type, &body))
			give_up();
		if (type == FILES_TYPE_ENTRY)
			put_member(&body.entry);
		else if (type == FILES_TYPE_DATA)
			write_file(body.data.data.size);
		else
			file.fd >= 0 ? end_file() : end_folder();
	}
	end_done();
}

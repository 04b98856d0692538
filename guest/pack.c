/* pack: writes a layer of a root file system to standard output, as a tar archive.
 *
 *     Usage: pack FOLDER LIMIT
 *
 * FOLDER is the upper layer of an overlay. Its changes to the layers below are written as in the
 * layers of OCI images: as a file `.wh.NAME` for a name that was removed, and as a file
 * `.wh..wh..opq` in a folder that hides the same folder of the layers below.
 *
 * The files may come from an attacker, who may change them while pack runs. So pack follows no
 * links, never waits, and has static memory. It fails if its memory does not suffice, or if the
 * files contain something that a layer cannot express. It also fails if the files have more than
 * LIMIT bytes in total, before it writes any byte of the file that exceeds the limit. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "console.h"
#include "decimal.h"
#include "entry.h"
#include "tar.h"

#define WHITEOUT ".wh."
#define OPAQUE ".wh..wh..opq"
#define OVERLAY "trusted.overlay."
#define TOO_MUCH "its path and attributes are too long\n"

/* DEPTH_MAX limits the nesting of folders, because all folders on the current path are open. */
enum { DEPTH_MAX = 1000, ATTRIBUTES_SIZE = 1 << 16, CHUNK = 1 << 16 };

enum { SHOWN = 100 }; /* a message shows only this many bytes from each end of a long path */

enum { ATTRIBUTE_NAME_MAX = 255 }; /* the value of XATTR_NAME_MAX in linux/limits.h */

/* A folder on the path of the current file. Its entries are being packed. */
struct level {
	size_t path_size;
	struct folder folder;
};

const char console_name[] = "pack: ";

static struct level levels[DEPTH_MAX];
static size_t depth;
static char path[PATH_MAX]; /* path of the current file, relative to FOLDER */
static dev_t device;
static uint64_t room; /* number of bytes that may still be packed until LIMIT is reached */

static const char *shown(const char *whole)
{
	static char text[2 * SHOWN + sizeof "..."];
	size_t size = strlen(whole);

	if (size < sizeof text)
		return whole;
	memcpy(text, whole, SHOWN);
	memcpy(text + SHOWN, "...", strlen("..."));
	memcpy(text + SHOWN + strlen("..."), whole + size - SHOWN, SHOWN + 1);
	return text;
}

static void need(bool done, const char *step, const char *object)
{
	if (done)
		return;
	console_expect(false, step, shown(object));
	_exit(1);
}

/* If `done` is false, reports that `step` has failed for the current file because of `reason`, and
 * exits. */
static void need_room(bool done, const char *step, const char *reason)
{
	if (done)
		return;
	console_say(step, shown(path), reason);
	_exit(1);
}

/* Sets `path` to the path of an entry. Keeps the first `size` bytes of `path`, which are the path
 * of the entry's folder, and puts a slash, `prefix` and `name` behind them. */
static void set_path(size_t size, const char *prefix, const char *name)
{
	size_t prefix_size = strlen(prefix), name_size = strlen(name) + 1;

	path[size] = 0;
	need_room(size + 1 + prefix_size + name_size <= sizeof path, "store the files of ",
		  "a path is too long\n");
	if (size > 0)
		path[size++] = '/';
	memcpy(path + size, prefix, prefix_size);
	memcpy(path + size + prefix_size, name, name_size);
}

static void write_member(char type, const struct stat *status, uint64_t size, const char *target)
{
	need_room(tar_member(path, type, status, size, target), "describe ", TOO_MUCH);
}

static void write_mark(const struct stat *status)
{
	const struct stat plain = { .st_mode = S_IFREG | 0644, .st_mtime = status->st_mtime };

	write_member(TAR_FILE, &plain, 0, NULL);
}

/* Returns whether a folder of the overlay's upper layer hides the same folder of the layers
 * below. */
static bool is_opaque(int fd)
{
	char value = 0;

	return fgetxattr(fd, OVERLAY "opaque", &value, 1) == 1 && value == 'y';
}

/* Adds the extended attributes of an open file or folder to the next member of the archive. Other
 * types of files, such as symbolic links, are packed without extended attributes. */
static void add_attributes(int fd)
{
	static char names[ATTRIBUTES_SIZE], value[ATTRIBUTES_SIZE];
	static char key[sizeof "SCHILY.xattr." + ATTRIBUTE_NAME_MAX] = "SCHILY.xattr.";
	ssize_t size = flistxattr(fd, names, sizeof names);

	need(size >= 0 || errno == ENOTSUP, "list the attributes of ", path);
	for (char *name = names; name < names + (size > 0 ? size : 0); name += strlen(name) + 1) {
		if (strncmp(name, OVERLAY, strlen(OVERLAY)) == 0)
			continue;
		ssize_t length = fgetxattr(fd, name, value, sizeof value);

		if (length < 0 && errno == ENODATA) /* the attribute was removed in the meantime */
			continue;
		need(length >= 0, "read an attribute of ", path);
		/* Refuse an attribute with "=" in its name, because the name is put into the key of
		 * a pax record, and the key ends at its first "=". */
		need_room(!strchr(name, '='), "describe ", "an attribute has \"=\" in its name\n");
		memcpy(key + strlen("SCHILY.xattr."), name, strlen(name) + 1);
		need_room(tar_record(key, value, (size_t)length), "describe ", TOO_MUCH);
	}
}

/* Writes the data of a file: as many bytes as its header in the archive says, even if the file has
 * another size by now. Additional data is left out, and missing data is written as zeros. */
static void write_data(int fd, uint64_t size)
{
	static char chunk[CHUNK];

	for (uint64_t left = size; left > 0;) {
		size_t most = left < sizeof chunk ? (size_t)left : sizeof chunk;
		ssize_t n = read(fd, chunk, most);

		need(n >= 0, "read ", path);
		if (n == 0) {
			memset(chunk, 0, most);
			n = (ssize_t)most;
		}
		tar_data(chunk, (size_t)n);
		left -= (uint64_t)n;
	}
	tar_pad(size);
}

/* SLOTS and PATHS_SIZE are the sizes of the arrays `slots` and `paths`. FILES_MAX is the maximum
 * number of files with several hard links. Large arrays cost nothing, because the kernel provides a
 * page of memory only when the program writes to the page. */
enum { SLOTS = 1 << 17, FILES_MAX = SLOTS / 2, PATHS_SIZE = 8 << 20 };

/* The files with several hard links that were written to the archive: a hash table by inode. */
static struct {
	uint64_t inode;
	const char *path; /* first path of a file with hard links; NULL if the slot is free */
} slots[SLOTS];
static char paths[PATHS_SIZE];
static size_t paths_size, files;

/* Sets `first` to the first path of the file with this inode, if the file was packed before. If
 * not, sets `first` to NULL and records `path` as its first path. Returns false if there is no room
 * for more files. */
static bool meet(uint64_t inode, const char **first)
{
	size_t size = strlen(path) + 1, at = (size_t)(inode % SLOTS);

	while (slots[at].path && slots[at].inode != inode)
		at = (at + 1) % SLOTS;
	*first = slots[at].path;
	if (*first)
		return true;
	if (files == FILES_MAX || size > PATHS_SIZE - paths_size)
		return false;
	slots[at].inode = inode;
	slots[at].path = memcpy(paths + paths_size, path, size);
	paths_size += size;
	files++;
	return true;
}

/* Writes a hard link and returns true if the file was packed under another path before. Otherwise
 * returns false. */
static bool write_link(const struct stat *status)
{
	const char *first = NULL;

	if (status->st_nlink > 1)
		need_room(meet(status->st_ino, &first), "find the links of ",
			  "too many files have several names\n");
	if (first)
		write_member(TAR_LINK, status, 0, first);
	return first != NULL;
}

static void pack_file(int fd, const struct stat *status)
{
	uint64_t size = (uint64_t)status->st_size;

	if (!write_link(status)) {
		need_room(size <= room, "write ",
			  "with this file, the changes are larger than the limit\n");
		room -= size;
		add_attributes(fd);
		write_member(TAR_FILE, status, size, NULL);
		write_data(fd, size);
	}
	close(fd);
}

static void enter(int fd)
{
	need_room(depth < DEPTH_MAX, "enter ", "it is nested in too many folders\n");
	levels[depth].path_size = strlen(path);
	levels[depth].folder.fd = fd;
	levels[depth].folder.at = levels[depth].folder.end = 0;
	depth++;
}

static void pack_folder(int fd, const struct stat *status)
{
	size_t size = strlen(path);

	add_attributes(fd);
	write_member(TAR_FOLDER, status, 0, NULL);
	if (is_opaque(fd)) {
		set_path(size, "", OPAQUE);
		write_mark(status);
		path[size] = 0;
	}
	enter(fd);
}

/* Packs a regular file or a folder. Opens it first, and then reads its status and content from the
 * descriptor, so that another process cannot replace the file in between. */
static void pack_open(int folder, const char *name)
{
	struct stat status;
	int fd = openat(folder, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);

	/* Skip an entry that was removed or replaced in the meantime. */
	if (fd < 0 && (errno == ENOENT || errno == ELOOP || errno == ENXIO))
		return;
	need(fd >= 0 && fstat(fd, &status) == 0, "open ", path);
	if (S_ISREG(status.st_mode))
		pack_file(fd, &status);
	else if (S_ISDIR(status.st_mode))
		pack_folder(fd, &status);
	else
		close(fd);
}

static void pack_symlink(int folder, const char *name, const struct stat *status)
{
	static char target[PATH_MAX];
	ssize_t size = readlinkat(folder, name, target, sizeof target - 1);

	if (size < 0 && (errno == ENOENT || errno == EINVAL))
		return;
	need(size >= 0, "read ", path);
	target[size] = 0;
	write_member(TAR_SYMLINK, status, 0, target);
}

static void pack_special(const struct stat *status)
{
	char type = S_ISCHR(status->st_mode) ? TAR_CHARACTER :
		    S_ISBLK(status->st_mode) ? TAR_BLOCK :
					       TAR_FIFO;

	if (!S_ISSOCK(status->st_mode) &&
	    !write_link(status)) /* a tar archive cannot hold sockets */
		write_member(type, status, 0, NULL);
}

static void pack_entry(const struct level *level, const char *name)
{
	struct stat status;

	set_path(level->path_size, "", name);
	if (fstatat(level->folder.fd, name, &status, AT_SYMLINK_NOFOLLOW) < 0) {
		need(errno == ENOENT, "look at ", path);
		return;
	}
	/* Skip an entry in another file system, which is mounted in the folder. */
	if (status.st_dev != device)
		return;
	if (S_ISCHR(status.st_mode) && status.st_rdev == 0) {
		set_path(level->path_size, WHITEOUT, name);
		write_mark(&status);
		return;
	}
	need_room(strncmp(name, WHITEOUT, strlen(WHITEOUT)) != 0, "store ",
		  "in a layer, this name marks a removed file\n");
	if (S_ISREG(status.st_mode) || S_ISDIR(status.st_mode))
		pack_open(level->folder.fd, name);
	else if (!S_ISLNK(status.st_mode))
		pack_special(&status);
	else if (!write_link(&status))
		pack_symlink(level->folder.fd, name, &status);
}

static void pack_levels(void)
{
	while (depth > 0) {
		struct level *level = &levels[depth - 1];
		const char *name = folder_next(&level->folder);

		if (name) {
			pack_entry(level, name);
		} else {
			need(errno == ENOENT, "list ", path);
			close(level->folder.fd);
			depth--;
		}
	}
}

int main(int argc, char **argv)
{
	const char *folder = argc > 1 ? argv[1] : "";
	int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct stat status;

	need(fd >= 0 && fstat(fd, &status) == 0, "open ", folder);
	device = status.st_dev;
	room = argc > 2 ? decimal_value(argv[2], strlen(argv[2])) : 0;
	enter(fd);
	pack_levels();
	tar_end();
	return 0;
}

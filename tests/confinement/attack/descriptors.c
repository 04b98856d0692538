/* Attempts on the files that QEMU inherits as descriptors.
 *
 * The template's files are open for reading only. But they belong to the user, and QEMU runs as
 * this user, so only the confinement can prevent that QEMU opens them for writing. */
#define _GNU_SOURCE
#include "attack.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/xattr.h>
#include <unistd.h>

#ifndef FS_IOC_ENABLE_VERITY
#define FS_IOC_ENABLE_VERITY _IOW('f', 133, char[128])
#endif

/* Define attempts, which are made on each inherited file that is open for reading only, or on each
 * that is open for writing. */
#define ON(kind, name, call)                   \
	static long name##_one(int fd)         \
	{                                      \
		return call;                   \
	}                                      \
	static long name(void)                 \
	{                                      \
		return each(kind, name##_one); \
	}

static long reopened(const char *folder, int fd, int flags)
{
	char path[60];

	snprintf(path, sizeof path, "%s/%d", folder, fd);
	return closing(open(path, flags | O_CLOEXEC));
}

static long cut(int fd)
{
	char path[60];

	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	return truncate(path, 1);
}

static long linked(int fd)
{
	char path[60];

	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	return linkat(AT_FDCWD, path, AT_FDCWD, below("relinked"), AT_SYMLINK_FOLLOW);
}

static long mapped(int fd)
{
	void *found = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	return found == MAP_FAILED ? -1 : 0;
}

static long protected(int fd)
{
	void *found = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0);

	return found == MAP_FAILED ? -1 : mprotect(found, 4096, PROT_READ | PROT_WRITE);
}

static long dropped(int fd)
{
	void *found = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0);

	return found == MAP_FAILED ? -1 : madvise(found, 4096, MADV_REMOVE);
}

/* Write through /proc/self/mem to memory into which a file is mapped for reading only. */
static long forced(int fd)
{
	char *found = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0);
	int memory = open("/proc/self/mem", O_RDWR | O_CLOEXEC);
	long written = found == MAP_FAILED || memory < 0 ? -1 : pwrite(memory, "x", 1, P(found));

	closing(memory);
	return written == 1 ? 0 : -1;
}

static long spliced(int fd)
{
	int pipes[2];
	loff_t at = 0;
	long found;

	if (pipe2(pipes, O_CLOEXEC) != 0)
		return -1;
	write(pipes[1], "x", 1);
	found = splice(pipes[0], NULL, fd, &at, 1, 0);
	closing(pipes[0]);
	closing(pipes[1]);
	return found;
}

/* Splice the file into a pipe, which copies no data, and then overwrite the data in the pipe
 * (CVE-2022-0847). */
static long through_pipe(int fd)
{
	int pipes[2];
	loff_t at = 0;
	char before = 0, after = 0;

	if (pread(fd, &before, 1, 1) != 1 || pipe2(pipes, O_CLOEXEC) != 0)
		return -1;
	if (splice(fd, &at, pipes[1], NULL, 1, 0) == 1)
		write(pipes[1], before == 'x' ? "y" : "x", 1);
	pread(fd, &after, 1, 1);
	closing(pipes[0]);
	closing(pipes[1]);
	return before != after ? 0 : fail(EBADF);
}

static long flags_changed(int fd)
{
	int flags = 0;

	if (ioctl(fd, FS_IOC_GETFLAGS, &flags) != 0)
		return -1;
	flags ^= FS_NODUMP_FL;
	return ioctl(fd, FS_IOC_SETFLAGS, &flags);
}

static long verity(int fd)
{
	char nothing[128] = { 1, 0, 0, 0, 1 };

	return ioctl(fd, FS_IOC_ENABLE_VERITY, nothing);
}

static long record_locked(int fd, int command)
{
	struct flock lock = { .l_type = F_RDLCK, .l_whence = SEEK_SET };

	return fcntl(fd, command, &lock);
}

/* Attempts to lock a file. Each releases its lock or lease after a success, because the file stays
 * open, and a lease would block later attempts. */

static long locked(int fd)
{
	long done = flock(fd, LOCK_EX | LOCK_NB);

	if (done == 0)
		flock(fd, LOCK_UN);
	return done;
}

static long leased(int fd)
{
	long done = fcntl(fd, F_SETLEASE, F_RDLCK);

	if (done == 0)
		fcntl(fd, F_SETLEASE, F_UNLCK);
	return done;
}

static long grown(int fd)
{
	struct stat status;

	if (fstat(fd, &status) != 0)
		return -1;
	/* Write far beyond the end of the file, at an offset that exceeds the maximum size of a
	 * machine's disk. */
	return pwrite(fd, "x", 1, status.st_size + (1L << 42));
}

static long extended(int fd)
{
	return fallocate(fd, 0, 1L << 42, 1 << 20);
}

static long parent_of(int fd)
{
	return closing(openat(fd, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
}

static long pipe_grown(void)
{
	int pipes[2];
	long found;

	if (pipe2(pipes, O_CLOEXEC) != 0)
		return -1;
	found = fcntl(pipes[1], F_SETPIPE_SZ, 1 << 20);
	closing(pipes[0]);
	closing(pipes[1]);
	return found;
}

ON(READ_ONLY_FILE, reopen, reopened("/proc/self/fd", fd, O_RDWR))
ON(READ_ONLY_FILE, reopen_dev, reopened("/dev/fd", fd, O_RDWR))
ON(READ_ONLY_FILE, reopen_empty, reopened("/proc/self/fd", fd, O_WRONLY | O_TRUNC))
ON(READ_ONLY_FILE, change_mode, fchmod(fd, 0666))
ON(READ_ONLY_FILE, change_mode_and_open, fchmod(fd, 0666) ? -1 : reopened("/dev/fd", fd, O_RDWR))
ON(READ_ONLY_FILE, change_owner, fchown(fd, (uid_t)-1, (gid_t)-1))
ON(READ_ONLY_FILE, set_attribute, fsetxattr(fd, "user.attack", "x", 1, 0))
ON(READ_ONLY_FILE, set_times, syscall(SYS_utimensat, fd, NULL, NULL, 0))
ON(READ_ONLY_FILE, set_flags, flags_changed(fd))
ON(READ_ONLY_FILE, set_verity, verity(fd))
ON(READ_ONLY_FILE, lock, locked(fd))
ON(READ_ONLY_FILE, lock_record, record_locked(fd, F_SETLK))
ON(READ_ONLY_FILE, lock_open_record, record_locked(fd, F_OFD_SETLK))
ON(READ_ONLY_FILE, lease, leased(fd))
ON(READ_ONLY_FILE, notify, fcntl(fd, F_NOTIFY, DN_MODIFY))
ON(READ_ONLY_FILE, write_file, write(fd, "x", 1))
ON(READ_ONLY_FILE, cut_file, ftruncate(fd, 1))
ON(READ_ONLY_FILE, cut_by_path, cut(fd))
ON(READ_ONLY_FILE, punch, fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4096))
ON(READ_ONLY_FILE, map_shared, mapped(fd))
ON(READ_ONLY_FILE, map_and_protect, protected(fd))
ON(READ_ONLY_FILE, map_and_remove, dropped(fd))
ON(READ_ONLY_FILE, write_by_memory, forced(fd))
ON(READ_ONLY_FILE, splice_into, spliced(fd))
ON(READ_ONLY_FILE, splice_pipe, through_pipe(fd))
ON(READ_ONLY_FILE, link_again, linked(fd))
ON(READ_ONLY_FILE, direct, fcntl(fd, F_SETFL, O_DIRECT))
ON(READ_ONLY_FILE, flush, syncfs(fd))
ON(WRITABLE_FILE, grow, grown(fd))
ON(WRITABLE_FILE, extend, extended(fd))
ON(FOLDER, climb, parent_of(fd))

static const struct attempt rows[] = {
	{ "reopen /proc/self/fd/N to write", OPEN, "every later guest", reopen },
	{ "reopen /dev/fd/N to write", OPEN, "the same", reopen_dev },
	{ "fchmod", OPEN, "a template that all can write", change_mode },
	{ "fchmod, then reopen /dev/fd/N", OPEN, "every later guest", change_mode_and_open },
	{ "fchown", OPEN, "a template that is no longer trusted", change_owner },
	{ "fsetxattr", OPEN, "the same", set_attribute },
	{ "utimensat of a descriptor", OPEN, "the same", set_times },
	{ "ioctl FS_IOC_SETFLAGS", OPEN, "the same", set_flags },
	{ "ioctl FS_IOC_ENABLE_VERITY", SHUT, "a template that nobody can write", set_verity },
	{ "flock", OPEN, "whoever waits for that lock", lock },
	{ "fcntl F_SETLK", OPEN, "the same", lock_record },
	{ "fcntl F_OFD_SETLK", OPEN, "the same", lock_open_record },
	{ "fcntl F_SETLEASE", OPEN, "whoever opens the file to write held up", lease },
	{ "fcntl F_NOTIFY", SHUT, "what others do with it", notify },
	{ "write", SHUT, "every later guest", write_file },
	{ "ftruncate", SHUT, "the same", cut_file },
	{ "fallocate FALLOC_FL_PUNCH_HOLE", SHUT, "the same", punch },
	{ "mmap MAP_SHARED to write", SHUT, "the same", map_shared },
	{ "mprotect of a shared mapping", SHUT, "the same", map_and_protect },
	{ "madvise MADV_REMOVE", SHUT, "the same", map_and_remove },
	{ "write /proc/self/mem over a mapping", SHUT, "the same", write_by_memory },
	{ "splice into it", SHUT, "the same", splice_into },
	{ "splice from it, then write the pipe", SHUT, "the same", splice_pipe },
	{ "link of a descriptor", OPEN, "a name for a file that has none", link_again },
	{ "reopen /proc/self/fd/N with O_TRUNC", OPEN, "every later guest", reopen_empty },
	{ "truncate /proc/self/fd/N", OPEN, "the same", cut_by_path },
	{ "syncfs", OPEN, "the disk kept busy", flush },
	{ "pwrite far beyond the end", OPEN, "the disk filled", grow },
	{ "fallocate far beyond the end", SHUT, "the same", extend },
	{ "openat of .. in a folder", SHUT, "the host's folders, if it had one", climb },
	{ "fcntl F_SETFL O_DIRECT", SHUT, "reads of others who share the descriptor", direct },
	{ "fcntl F_SETPIPE_SZ", OPEN, "the pages that a user's pipes may have", pipe_grown },
};

const struct attempts descriptors = { "Inherited files", rows, sizeof rows / sizeof rows[0] };

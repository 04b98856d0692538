/* A library for LD_PRELOAD, which makes calls for files below one folder fail, and changes the time
 * of the wall clock.
 *
 * It has no effect until the program calls fault_arm() or fault_clock(). After fault_arm(), it
 * counts the calls of the C library that access a file below the folder, by path or by descriptor,
 * and makes the selected ones fail. fault_clock() sets the clock. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static char below[PATH_MAX];
static char calls[256]; /* kinds of calls that fail, with a comma before and after each */
static int error;
static long first, last;
static atomic_long count;
static atomic_long off; /* by how many seconds the wall clock is wrong */

/* Make calls of the kinds in `names`, such as "open,create", fail with the errno `number`: those
 * from the call `from` to the call `to`, counted from 1. */
void fault_arm(const char *folder, const char *names, int number, long from, long to)
{
	snprintf(below, sizeof below, "%s", folder);
	snprintf(calls, sizeof calls, ",%s,", names);
	error = number;
	first = from;
	last = to;
	atomic_store(&count, 0);
}

/* Let no more calls fail, and return the number of calls that were counted. */
long fault_disarm(void)
{
	below[0] = '\0';
	return atomic_load(&count);
}

/* Shift the wall clock by this number of seconds. */
void fault_clock(long seconds)
{
	atomic_store(&off, seconds);
}

static bool is_below(const char *path)
{
	size_t size = strlen(below);
	return strncmp(path, below, size) == 0 && (path[size] == '/' || path[size] == '\0');
}

static bool fails(const char *name, const char *path)
{
	char between[64];
	snprintf(between, sizeof between, ",%s,", name);
	if (!is_below(path) || strstr(calls, between) == NULL)
		return false;
	long number = atomic_fetch_add(&count, 1) + 1;
	if (number < first || number > last)
		return false;
	errno = error;
	return true;
}

static bool fd_fails(const char *name, int fd)
{
	if (below[0] == '\0')
		return false;
	char link[64], path[PATH_MAX];
	int before = errno;
	snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
	ssize_t size = readlink(link, path, sizeof path - 1);
	errno = before;
	if (size < 0)
		return false;
	path[size] = '\0';
	return fails(name, path);
}

static bool at_fails(const char *name, int folder, const char *path)
{
	if (below[0] == '\0' || path == NULL)
		return false;
	if (path[0] == '/' || folder == AT_FDCWD)
		return fails(name, path);
	return fd_fails(name, folder);
}

static bool path_fails(const char *name, const char *path)
{
	return at_fails(name, AT_FDCWD, path);
}

/* Return the C library's function of this name, which the function here replaces. The cast avoids a
 * conversion of an object pointer to a function pointer, which ISO C forbids. */
#define REAL(name)                                                 \
	__extension__({                                            \
		static __typeof__(&(name)) real;                   \
		if (real == NULL)                                  \
			*(void **)&real = dlsym(RTLD_NEXT, #name); \
		real;                                              \
	})

static bool makes(int flags)
{
	return (flags & (O_CREAT | O_WRONLY | O_RDWR)) != 0 || (flags & O_TMPFILE) == O_TMPFILE;
}

static mode_t mode_of(int flags, va_list rest)
{
	bool given = (flags & O_CREAT) != 0 || (flags & O_TMPFILE) == O_TMPFILE;
	return given ? va_arg(rest, mode_t) : 0;
}

#define OPEN(name)                                                      \
	int name(const char *path, int flags, ...)                      \
	{                                                               \
		va_list rest;                                           \
		va_start(rest, flags);                                  \
		mode_t mode = mode_of(flags, rest);                     \
		va_end(rest);                                           \
		if (path_fails(makes(flags) ? "create" : "open", path)) \
			return -1;                                      \
		return REAL(name)(path, flags, mode);                   \
	}
OPEN(open)
OPEN(open64)

#define OPENAT(name)                                                          \
	int name(int folder, const char *path, int flags, ...)                \
	{                                                                     \
		va_list rest;                                                 \
		va_start(rest, flags);                                        \
		mode_t mode = mode_of(flags, rest);                           \
		va_end(rest);                                                 \
		if (at_fails(makes(flags) ? "create" : "open", folder, path)) \
			return -1;                                            \
		return REAL(name)(folder, path, flags, mode);                 \
	}
OPENAT(openat)
OPENAT(openat64)

#define CALL(result, name, check, parameters, arguments) \
	result name parameters                           \
	{                                                \
		if (check)                               \
			return (result) - 1;             \
		return REAL(name) arguments;             \
	}
#define BY_FD(result, name, as, parameters, arguments) \
	CALL(result, name, fd_fails(as, fd), parameters, arguments)
#define BY_PATH(result, name, parameters, arguments) \
	CALL(result, name, path_fails(#name, path), parameters, arguments)

BY_FD(ssize_t, read, "read", (int fd, void *data, size_t size), (fd, data, size))
BY_FD(ssize_t, pread64, "read", (int fd, void *data, size_t size, off64_t at), (fd, data, size, at))
BY_FD(ssize_t, write, "write", (int fd, const void *data, size_t size), (fd, data, size))
BY_FD(ssize_t, pwrite64, "write", (int fd, const void *data, size_t size, off64_t at),
      (fd, data, size, at))
BY_FD(ssize_t, sendfile64, "write", (int fd, int from, off64_t *at, size_t size),
      (fd, from, at, size))
BY_FD(int, ftruncate64, "ftruncate", (int fd, off64_t size), (fd, size))
BY_FD(int, fsync, "fsync", (int fd), (fd))
BY_FD(int, flock, "flock", (int fd, int how), (fd, how))
BY_FD(int, fchmod, "chmod", (int fd, mode_t mode), (fd, mode))
BY_PATH(int, mkdir, (const char *path, mode_t mode), (path, mode))
BY_PATH(int, rmdir, (const char *path), (path))
BY_PATH(int, unlink, (const char *path), (path))
BY_PATH(int, chmod, (const char *path, mode_t mode), (path, mode))
CALL(int, rename, path_fails("rename", to), (const char *from, const char *to), (from, to))
CALL(int, unlinkat, at_fails("unlink", folder, path), (int folder, const char *path, int flags),
     (folder, path, flags))
CALL(int, mkdirat, at_fails("mkdir", folder, path), (int folder, const char *path, mode_t mode),
     (folder, path, mode))

int posix_fallocate64(int fd, off64_t at, off64_t size)
{
	if (fd_fails("ftruncate", fd))
		return errno;
	return REAL(posix_fallocate64)(fd, at, size);
}

int clock_gettime(clockid_t which, struct timespec *now)
{
	int result = REAL(clock_gettime)(which, now);
	if (result == 0 && which == CLOCK_REALTIME)
		now->tv_sec += atomic_load(&off);
	return result;
}

/* The functions of the C library that the guest's programs use and that call the kernel. The
 * programs contain no C library, so that any gcc or clang can compile them, and so that they are
 * small. For tests, they are linked with a C library instead of this file.
 *
 * The programs are compiled with the headers of the compiler's C library, because for 64-bit Linux
 * glibc and musl declare the same structures as the kernel. Only this file does without these
 * headers, because the two libraries declare some functions with different types. Most functions
 * here take and return `long`: on these processors, a caller passes integers and pointers of any
 * type in the same registers. If a caller passes an `int`, the upper half of the register may have
 * any value. Most system calls ignore this half, because their own parameter is an `int`, too. For
 * the others, the function here has a parameter of type `int`, which the compiler extends.
 *
 * A function may have more parameters than a caller passes, because the kernel ignores the others. */
#include <stddef.h>
#include <sys/syscall.h>

#if defined(__x86_64__)
#include "kernel_x86_64.h"
#elif defined(__aarch64__)
#include "kernel_aarch64.h"
#else
#error "the guest's programs support only x86-64 and aarch64"
#endif

enum { ERROR_MAX = 4095 };    /* highest error number of the kernel */
enum { SIGNAL_SET_SIZE = 8 }; /* size of the kernel's set of signals in bytes */

/* Definitions of linux/fcntl.h and linux/reboot.h, which musl lacks. */
enum { CURRENT_FOLDER = -100, NO_FOLLOW = 0x100, REMOVE_FOLDER = 0x200 };
enum { REBOOT_MAGIC_2 = 672274793 };
#define REBOOT_MAGIC 0xfee1deadU

int main(int argc, char **argv);

/* A child that shares the memory of its parent changes `error`, too, but only while the parent waits
 * for it. */
static int error;
static const unsigned long *auxiliary; /* the auxiliary vector: pairs of a type and a value */

/* Returns the address of errno, for the macro `errno` of glibc and of musl. */
int *__errno_location(void)
{
	return &error;
}

/* Sets errno if a system call has failed. Returns its result, or -1 on failure. */
static long converted(long result)
{
	if (result < -ERROR_MAX || result >= 0)
		return result;
	error = (int)-result;
	return -1;
}

/* Makes a system call with up to six arguments. */
#define CALL_6(number, a, b, c, d, e, f, ...)                                                \
	converted(kernel_call(number, (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), \
			      (long)(f)))
#define CALL(name, ...) CALL_6(SYS_##name, __VA_ARGS__, 0, 0, 0, 0, 0, 0)

/* Defines a function that makes the system call `name` with the arguments of the function. */
#define SAME(function, name)                                          \
	long function(long a, long b, long c, long d, long e, long f) \
	{                                                             \
		return CALL(name, a, b, c, d, e, f);                  \
	}

/* clang-format off */
SAME(accept4, accept4)
SAME(bind, bind)
SAME(chdir, chdir)
SAME(chroot, chroot)
SAME(clock_gettime, clock_gettime)
SAME(clock_settime, clock_settime)
SAME(close, close)
SAME(connect, connect)
SAME(epoll_create1, epoll_create1)
SAME(epoll_ctl, epoll_ctl)
SAME(execve, execve)
SAME(fchmod, fchmod)
SAME(fchown, fchown)
SAME(fchownat, fchownat)
SAME(fgetxattr, fgetxattr)
SAME(flistxattr, flistxattr)
SAME(fstat, fstat)
SAME(fstatat, newfstatat)
SAME(ftruncate, ftruncate)
SAME(geteuid, geteuid)
SAME(getpid, getpid)
SAME(getrandom, getrandom)
SAME(getsockname, getsockname)
SAME(getsockopt, getsockopt)
SAME(ioctl, ioctl)
SAME(kill, kill)
SAME(listen, listen)
SAME(lseek, lseek)
SAME(mkdirat, mkdirat)
SAME(mount, mount)
SAME(nanosleep, nanosleep)
SAME(openat, openat)
SAME(pipe2, pipe2)
SAME(prctl, prctl)
SAME(pread, pread64)
SAME(prlimit, prlimit64)
SAME(pwrite, pwrite64)
SAME(read, read)
SAME(readlinkat, readlinkat)
SAME(renameat, renameat)
SAME(sched_setscheduler, sched_setscheduler)
SAME(sendto, sendto)
SAME(sethostname, sethostname)
SAME(setsid, setsid)
SAME(setsockopt, setsockopt)
SAME(shutdown, shutdown)
SAME(socket, socket)
SAME(splice, splice)
SAME(symlinkat, symlinkat)
SAME(umask, umask)
SAME(umount2, umount2)
SAME(unlinkat, unlinkat)
SAME(write, write)
/* clang-format on */

long syscall(long number, long a, long b, long c, long d, long e, long f)
{
	return CALL_6(number, a, b, c, d, e, f);
}

/* The kernel reads the whole registers of the following system calls. */

/* All operations of fcntl(2) that the guest's programs use take an `int`. */
long fcntl(int fd, int command, int value)
{
	return CALL(fcntl, fd, command, value);
}

long mmap(void *at, size_t size, int protection, int flags, int fd, long offset)
{
	return CALL(mmap, at, size, protection, flags, fd, offset);
}

long readv(int fd, const void *buffers, int count)
{
	return CALL(readv, fd, buffers, count);
}

/* The following functions use newer system calls, because aarch64 lacks the ones of the same
 * names. */

long access(const char *path, long mode)
{
	return CALL(faccessat, CURRENT_FOLDER, path, mode);
}

/* Only faccessat2 has flags, but Linux before 5.8 lacks it. */
long faccessat(long folder, const char *path, long mode, int flags)
{
	return flags ? CALL(faccessat2, folder, path, mode, flags) :
		       CALL(faccessat, folder, path, mode);
}

long chmod(const char *path, long mode)
{
	return CALL(fchmodat, CURRENT_FOLDER, path, mode);
}

long dup2(int from, int to)
{
	return from == to ? to : CALL(dup3, from, to);
}

long epoll_wait(long set, void *events, long count, long timeout_ms)
{
	return CALL(epoll_pwait, set, events, count, timeout_ms);
}

long lstat(const char *path, void *status)
{
	return CALL(newfstatat, CURRENT_FOLDER, path, status, NO_FOLLOW);
}

long mkdir(const char *path, long mode)
{
	return CALL(mkdirat, CURRENT_FOLDER, path, mode);
}

long open(const char *path, long flags, long mode)
{
	return CALL(openat, CURRENT_FOLDER, path, flags, mode);
}

long pause(void)
{
	return CALL(ppoll, 0);
}

long poll(void *polled, long count, int timeout_ms)
{
	const long time[2] = { timeout_ms / 1000, timeout_ms % 1000 * 1000000L };

	return CALL(ppoll, polled, count, timeout_ms < 0 ? NULL : time);
}

long rmdir(const char *path)
{
	return CALL(unlinkat, CURRENT_FOLDER, path, REMOVE_FOLDER);
}

long stat(const char *path, void *status)
{
	return CALL(newfstatat, CURRENT_FOLDER, path, status);
}

long symlink(const char *target, const char *path)
{
	return CALL(symlinkat, target, CURRENT_FOLDER, path);
}

/* The system calls of the following functions have more arguments than the functions. */

long futimens(long fd, const void *times)
{
	return CALL(utimensat, fd, NULL, times);
}

long getrlimit(long resource, void *limit)
{
	return CALL(prlimit64, 0, resource, NULL, limit);
}

long reboot(long command)
{
	return CALL(reboot, REBOOT_MAGIC, REBOOT_MAGIC_2, command);
}

long signalfd(long fd, const void *signals, long flags)
{
	return CALL(signalfd4, fd, signals, SIGNAL_SET_SIZE, flags);
}

long sigprocmask(long how, const void *signals, void *old)
{
	return CALL(rt_sigprocmask, how, signals, old, SIGNAL_SET_SIZE);
}

long waitid(long type, long id, void *info, long options)
{
	return CALL(waitid, type, id, info, options);
}

long waitpid(long pid, int *status, long options)
{
	return CALL(wait4, pid, status, options);
}

_Noreturn void _exit(int status)
{
	for (;;)
		CALL(exit_group, status);
}

_Noreturn void exit(int status)
{
	_exit(status);
}

/* The following functions change a set of signals, of which the kernel reads the first word. */

int sigemptyset(unsigned long *signals)
{
	*signals = 0;
	return 0;
}

int sigfillset(unsigned long *signals)
{
	*signals = ~0UL;
	return 0;
}

int sigaddset(unsigned long *signals, int signal)
{
	*signals |= 1UL << (signal - 1);
	return 0;
}

int sigdelset(unsigned long *signals, int signal)
{
	*signals &= ~(1UL << (signal - 1));
	return 0;
}

unsigned long getauxval(unsigned long type)
{
	const unsigned long *pair = auxiliary;

	while (*pair && *pair != type)
		pair += 2;
	return *pair ? pair[1] : 0;
}

/* Begins the program. `stack` is the first stack pointer. It points to the number of arguments. The
 * arguments, the environment and the auxiliary vector follow. */
_Noreturn void kernel_start(long *stack)
{
	char **argv = (char **)(stack + 1), **environment = argv + *stack + 1;

	while (*environment)
		environment++;
	auxiliary = (const unsigned long *)(environment + 1);
	_exit(main((int)*stack, argv));
}

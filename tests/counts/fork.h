/* Makes the daemon fork its child processes, because valgrind lacks clone3, and makes callgrind
 * dump its counts before each fork. The compiler includes this file into each source file of the
 * daemon. It changes nothing in the files that replace the C library, which are compiled with
 * -ffreestanding. */
#if __STDC_HOSTED__
#define _GNU_SOURCE
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <valgrind/callgrind.h>

static inline pid_t dump_and_fork(void)
{
	CALLGRIND_DUMP_STATS;
	return (pid_t)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
}

/* Select the variant of the daemon that shares no memory with a child, because fork copies it. */
#define __SANITIZE_ADDRESS__
#define syscall(number, ...) \
	((number) == SYS_clone3 ? dump_and_fork() : syscall(number, __VA_ARGS__))
#endif

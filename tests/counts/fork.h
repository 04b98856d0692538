/* Makes the daemon fork its child processes, because valgrind lacks clone3, and makes callgrind
 * dump its counts before each fork. */
#define _GNU_SOURCE
#include <sys/syscall.h>
#include <unistd.h>
#include <valgrind/callgrind.h>

/* Select the variant of the daemon that shares no memory with a child, because fork copies it. */
#define __SANITIZE_ADDRESS__
#define syscall(number, ...) \
	((number) == SYS_clone3 ? dump_and_fork() : syscall(number, __VA_ARGS__))

static inline pid_t dump_and_fork(void)
{
	CALLGRIND_DUMP_STATS;
	return fork();
}

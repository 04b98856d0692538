/* Makes the daemon fork its children, since valgrind lacks clone3, and dump the counts before each. */
#define _GNU_SOURCE
#include <sys/syscall.h>
#include <unistd.h>
#include <valgrind/callgrind.h>

#define __SANITIZE_ADDRESS__ /* no child may share the memory of the daemon */
#define syscall(number, ...) \
	((number) == SYS_clone3 ? dump_and_fork() : syscall(number, __VA_ARGS__))

static inline pid_t dump_and_fork(void)
{
	CALLGRIND_DUMP_STATS;
	return fork();
}

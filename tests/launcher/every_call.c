/* Makes every system call, and some calls that do not exist, with invalid arguments, and prints the
 * result of each. Before, it prints the tables of the launcher's filter. */
#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#include "allowed_calls.h"

enum { LAST = 600 };

static void list(const char *name, const int *calls, size_t size)
{
	for (size_t i = 0; i < size / sizeof *calls; i++)
		printf("%s %d\n", name, calls[i]);
}

/* The system calls uretprobe and uprobe, which only trampolines of the kernel may make on x86. No
 * filter sees these calls, and the kernel kills any other process that makes them. */
enum { TRAMPOLINE_FIRST = 335, TRAMPOLINE_LAST = 336 };

/* Return whether a system call does not return. The exit of the process shows that such a call is
 * allowed. */
static int is_final(long number)
{
	return number == SYS_exit || number == SYS_exit_group || number == SYS_rt_sigreturn ||
	       (number >= TRAMPOLINE_FIRST && number <= TRAMPOLINE_LAST);
}

static void make(long number)
{
	/* Give futex(2) a valid operation, because it returns ENOSYS for an unknown one, too. */
	long second = number == SYS_futex ? 0 : -1;
	long result = syscall(number, -1L, second, -1L, -1L, -1L, -1L);

	printf("call %ld %d\n", number, result < 0 ? errno : 0);
}

int main(void)
{
	setvbuf(stdout, NULL, _IONBF, 0);
	list("allowed", allowed_calls, sizeof allowed_calls);
	list("missing", missing_calls, sizeof missing_calls);
	printf("newest %d\n", NEWEST_CALL);
	for (long number = 0; number <= LAST; number++)
		if (!is_final(number))
			make(number);
#ifdef __x86_64__
	int result;

	/* Make the system call getpid through the ABIs of x32 and i386, which the filter must
	 * refuse. */
	make(0x40000000L | SYS_getpid);
	__asm__ volatile("int $0x80" : "=a"(result) : "a"(20) : "memory");
	printf("i386 %d\n", -result);
#endif
	fflush(stdout);
	return 0;
}

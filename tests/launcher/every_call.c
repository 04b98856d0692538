/* Makes every system call that there is, and some that there are not, with arguments that are all wrong,
 * and says what came of each; before, what the launcher's table says of some. */
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

/* The kernel's own trampolines of x86 make these, uretprobe and uprobe: no filter sees them, and who makes
 * them otherwise is ended. */
enum { TRAMPOLINE_FIRST = 335, TRAMPOLINE_LAST = 336 };

/* Some do not come back; that they are allowed shows when it ends. */
static int is_final(long number)
{
	return number == SYS_exit || number == SYS_exit_group || number == SYS_rt_sigreturn ||
	       (number >= TRAMPOLINE_FIRST && number <= TRAMPOLINE_LAST);
}

static void make(long number)
{
	/* An unknown operation of futex(2) is ENOSYS, too. */
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

	/* getpid() of the x32 ABI, and of i386. */
	make(0x40000000L | SYS_getpid);
	__asm__ volatile("int $0x80" : "=a"(result) : "a"(20) : "memory");
	printf("i386 %d\n", -result);
#endif
	fflush(stdout);
	return 0;
}

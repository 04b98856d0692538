// Prints the numbers, from 0 to the one given, of the system calls that this kernel has not got.

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { TIMEOUT = 1 }; // seconds, for calls that wait

// Asks by a child, which the call may end, and with arguments that none of them takes.
static bool lacks(long number)
{
	pid_t child = fork();
	if (child == 0) {
		alarm(TIMEOUT);
		// An unknown operation on a futex is ENOSYS as well.
		long operation = number == SYS_futex ? 0 : -1;
		_exit(syscall(number, -1L, operation, -1L, -1L, -1L, -1L) == -1 && errno == ENOSYS);
	}
	int status;
	if (child == -1 || waitpid(child, &status, 0) == -1) {
		perror("a child");
		exit(EXIT_FAILURE);
	}
	return WIFEXITED(status) && WEXITSTATUS(status) == 1;
}

int main(int argc, char **argv)
{
	long last = argc == 2 ? strtol(argv[1], NULL, 10) : -1;
	for (long number = 0; number <= last; ++number) {
		if (lacks(number)) {
			printf("%ld\n", number);
		}
	}
}

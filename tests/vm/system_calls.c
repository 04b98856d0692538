// Prints the number of each system call, from 0 to the given number, that this kernel lacks.

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { TIMEOUT = 1 }; // maximum time of a call that blocks, in seconds

// Returns whether the kernel lacks a system call. Makes the call in a child, which the call may
// kill, with arguments that are invalid for every call.
static bool lacks(long number)
{
	pid_t child = fork();
	if (child == 0) {
		alarm(TIMEOUT);
		// Give futex(2) a valid operation, because it returns ENOSYS for an unknown one, too.
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

/* The kernel, where a harness has none of its own: a call fails or does any part of what it was
 * asked for. What it is asked to read or write must be there. The fourth write would block.
 *
 * Of two functions of one name CBMC takes that of the file whose name comes first: the names of all
 * harnesses come before this one, which a test holds. */
#include "proof.h"

#include <poll.h>
#include <stdarg.h>

int open(const char *path, int flags, ...) { return nondet_int(); }

int openat(int folder, const char *path, int flags, ...)
{
	PROVE(__CPROVER_r_ok(path, 1));
	return nondet_int();
}

int access(const char *path, int mode) { return nondet_int(); }

int close(int fd) { return 0; }

void _exit(int status)
{
	ASSUME(false);
	for (;;)
		;
}

ssize_t read(int fd, void *into, size_t size)
{
	PROVE(__CPROVER_w_ok(into, size));
	/* Of a larger buffer nobody looks at the bytes. */
	if (size <= 64)
		__CPROVER_havoc_slice(into, size);
	return nondet_part(size);
}

ssize_t write(int fd, const void *from, size_t size)
{
	static int turn;

	PROVE(__CPROVER_r_ok(from, size));
	if (turn++ < 3)
		return nondet_part(size);
	errno = EAGAIN;
	return -1;
}

int poll(struct pollfd *fds, nfds_t count, int timeout)
{
	PROVE(__CPROVER_w_ok(fds, count * sizeof *fds));
	fds->revents = nondet_short();
	return nondet_int();
}

/* What is asked of a descriptor is a number. */
int ioctl(int fd, unsigned long request, ...)
{
	va_list arguments;

	va_start(arguments, request);
	*va_arg(arguments, int *) = nondet_int();
	va_end(arguments);
	return nondet_int();
}

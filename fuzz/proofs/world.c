/* Models of the kernel's functions that a harness does not define itself. A model fails, or does any
 * part of its work, and proves that the memory of its arguments is accessible. The fourth write fails
 * with EAGAIN.
 *
 * If two files define the same function, CBMC uses the file whose name sorts first. So world.c must
 * sort behind all harnesses, which a test checks. */
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
	/* Set the bytes only in small buffers, because no proof depends on the bytes in larger ones. */
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

/* In this model, each ioctl stores a number at the address that the caller gives. */
int ioctl(int fd, unsigned long request, ...)
{
	va_list arguments;

	va_start(arguments, request);
	*va_arg(arguments, int *) = nondet_int();
	va_end(arguments);
	return nondet_int();
}

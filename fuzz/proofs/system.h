/* The kernel as the daemon meets it: a call fails or does any part of what it was asked for. What
 * it is asked to read or write must be there. The fourth write would block. */
#ifndef SYSTEM_H
#define SYSTEM_H

#include "proof.h"

#include <stdarg.h>

#ifndef OWN_READ
ssize_t read(int fd, void *into, size_t size)
{
	ssize_t n = nondet_part(size);

	PROVE(__CPROVER_w_ok(into, size));
	/* Of a larger buffer nobody looks at the bytes. */
	if (size <= 64)
		__CPROVER_havoc_slice(into, size);
	return n;
}
#endif

#ifndef OWN_WRITE
ssize_t write(int fd, const void *from, size_t size)
{
	static int turn;

	PROVE(__CPROVER_r_ok(from, size));
	if (turn++ < 3)
		return nondet_part(size);
	errno = EAGAIN;
	return -1;
}
#endif

/* What is asked of a descriptor is a number. */
int ioctl(int fd, unsigned long request, ...)
{
	va_list arguments;

	va_start(arguments, request);
	*va_arg(arguments, int *) = nondet_int();
	va_end(arguments);
	return nondet_int();
}

#endif

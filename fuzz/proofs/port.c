/* Writes the queue to the host, and finds the port in its folder.
 *
 * Functions: port_flush port_has_room port_tail port_idle port_read open_ours is_ours
 * Bound: every state of the queue (68141 bytes), every result of a write; every buffer for
 *	reading, up to 65537 bytes; a folder of 3 entries
 * Assumes: the entries of getdents64 are complete, because they come from sysfs before any command
 *	has run; the fourth write would block
 * Unwind: 22 port_read.0:17
 * Wraps: conversion */
#include "proof.h"

#include <port.c>
#include <stdarg.h>

static const uint8_t *next; /* first byte that the kernel has not accepted yet */

ssize_t write(int fd, const void *from, size_t size)
{
	static int turn;
	ssize_t n = turn++ < 3 ? (ssize_t)nondet_upto(PORT_QUEUE_SIZE) - 1 : -1;

	PROVE(from == next && __CPROVER_r_ok(from, size));
	ASSUME(n < 0 || (size_t)n <= size);
	next += n > 0 ? n : 0;
	errno = turn > 3 ? EAGAIN : nondet_int();
	return n;
}

static const uint8_t *room; /* buffer that port_read fills */
static size_t asked;	    /* number of bytes that readv may write to `room` */

/* Proves that the pieces in `parts` are adjacent, and begin at the start of the buffer. */
ssize_t readv(int fd, const struct iovec *parts, int count)
{
	size_t some = nondet_upto(PAGES - 1);

	PROVE(count > 0 && count <= PAGES);
	asked = (size_t)(count - 1) * PAGE + parts[count - 1].iov_len;
	ASSUME(some < (size_t)count);
	PROVE(parts[some].iov_base == room + some * PAGE);
	PROVE(some == (size_t)count - 1 || parts[some].iov_len == PAGE);
	return nondet_int();
}

enum { ENTRY = sizeof(struct entry) + 8 };

long syscall(long number, ...)
{
	va_list arguments;
	long size = 0;

	va_start(arguments, number);
	(void)va_arg(arguments, int);
	char *entries = va_arg(arguments, void *);
	size_t room = va_arg(arguments, size_t);
	va_end(arguments);
	PROVE(__CPROVER_w_ok(entries, room));
	for (int i = 0; i < 3 && nondet_bool(); i++) {
		struct entry *entry = (void *)(entries + size);

		entry->length = ENTRY;
		size += ENTRY;
	}
	return nondet_bool() ? -1 : size;
}

void prove(void)
{
	struct port port;
	ASSUME(port.sent <= port.end && port.end <= PORT_QUEUE_SIZE);
	size_t sent = port.sent, waits = port.end - port.sent;
	size_t room = nondet_upto(PORT_QUEUE_SIZE);

	PROVE(!port_has_room(&port, room) || __CPROVER_w_ok(port_tail(&port), room));
	WITNESS(port_has_room(&port, room) && room > 0 && port.end > 0);
	next = port.queue + port.sent;
	if (port_flush(&port)) {
		PROVE(port.sent <= port.end && port.end <= PORT_QUEUE_SIZE);
		PROVE(port_idle(&port) ? next == port.queue + sent + waits :
					 next == port.queue + port.sent);
		PROVE(!port_idle(&port) || port.sent == 0);
		WITNESS(port.sent > 0);
	}
	WITNESS(open_ours(nondet_int()) >= 0);
}

void prove_read(void)
{
	static uint8_t into[PAGES * PAGE + 1];
	const struct port port = { .fd = nondet_int() };
	size_t size = nondet_upto(sizeof into);

	ASSUME(size > 0);
	room = into;
	port_read(&port, into, size);
	PROVE(asked == (size < PAGES * PAGE ? size : PAGES * PAGE));
	WITNESS(asked == 1);
	WITNESS(asked == PAGES * PAGE);
}

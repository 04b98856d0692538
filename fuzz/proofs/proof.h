/* What every harness uses. A witness must fail: it shows that the assumptions leave a way to it. */
#ifndef PROOF_H
#define PROOF_H

#include "protocol.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#define ASSUME(condition) __CPROVER_assume(condition)
#define PROVE(condition) __CPROVER_assert(condition, #condition)
#define WITNESS(condition) __CPROVER_assert(!(condition), "witness: " #condition)

/* CBMC has no model of strcspn; the daemon calls it with one character to stop at. */
static inline size_t span(const char *text, char stop)
{
	size_t length = 0;

	while (text[length] && text[length] != stop)
		length++;
	return length;
}
#define strcspn(text, stops) span(text, *(stops))

bool nondet_bool(void);
int nondet_int(void);
short nondet_short(void);
uint8_t nondet_byte(void);
uint16_t nondet_u16(void);
uint32_t nondet_u32(void);
uint64_t nondet_u64(void);
size_t nondet_size(void);

/* Any number up to this one. That its upper bits are 0 is plain to the solver. */
static inline size_t nondet_upto(size_t limit)
{
	size_t number = nondet_size() & (SIZE_MAX >> __builtin_clzl(limit));

	ASSUME(number <= limit);
	return number;
}

/* What a read or a write of so many bytes may return. */
static inline ssize_t nondet_part(size_t size)
{
	ssize_t n = (ssize_t)nondet_int();

	ASSUME(n >= -1 && (n < 0 || (size_t)n <= size));
	errno = nondet_int();
	return n;
}

/* What an encoder returns, as encoding.c proves: there must be room for the longest frame. */
static inline size_t nondet_frame(uint8_t *out, size_t room, size_t limit)
{
	PROVE(__CPROVER_w_ok(out, room));
	PROVE(room >= SANDBOXD_HEADER_SIZE + limit);
	return nondet_upto(SANDBOXD_HEADER_SIZE + limit);
}

#endif

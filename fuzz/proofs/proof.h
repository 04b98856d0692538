/* Definitions for all harnesses. WITNESS claims that a condition is never true. CBMC must refute
 * this claim, which shows that the assumptions of the proof allow the case. */
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

/* Returns any number up to the limit. The mask makes it obvious to the solver that the upper bits are
 * 0. */
static inline size_t nondet_upto(size_t limit)
{
	size_t number = nondet_size() & (SIZE_MAX >> __builtin_clzl(limit));

	ASSUME(number <= limit);
	return number;
}

/* Returns any result of a read or a write of `size` bytes. */
static inline ssize_t nondet_part(size_t size)
{
	ssize_t n = (ssize_t)nondet_int();

	ASSUME(n >= -1 && (n < 0 || (size_t)n <= size));
	errno = nondet_int();
	return n;
}

/* Returns any result of an encoder, as encoding.c proves. There must be room for the longest frame. */
static inline size_t nondet_frame(uint8_t *out, size_t room, size_t limit)
{
	PROVE(__CPROVER_w_ok(out, room));
	PROVE(room >= SANDBOXD_HEADER_SIZE + limit);
	return nondet_upto(SANDBOXD_HEADER_SIZE + limit);
}

#endif

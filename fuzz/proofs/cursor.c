/* Decodes one field at any position of a body of any size, which is a step of every decoder.
 *
 * Functions: sandboxd_take sandboxd_take_u8 sandboxd_take_u16 sandboxd_take_u32 sandboxd_take_u64
 *	sandboxd_take_constant sandboxd_take_length sandboxd_take_bytes sandboxd_take_tail sandboxd_end
 *	sandboxd_known sandboxd_refuse sandboxd_get sandboxd_fail
 * Bound: every body up to SANDBOXD_MAX_BODY (6299829 bytes), every position in it, every maximum
 * Assumes: the cursor is not beyond the end of the body; NUL is allowed (list.c proves the other
 *	case)
 * Unwind: 9 */
#include "proof.h"

#include <stdlib.h>

static bool take(struct sandboxd_cursor *cursor, struct sandboxd_slice *slice, unsigned *taken)
{
	uint8_t u8;
	uint16_t u16;
	uint32_t u32;
	uint64_t u64;

	switch (nondet_int()) {
	case 0:
		*taken = 1;
		return sandboxd_take_u8(cursor, 1, &u8) &&
		       sandboxd_known(cursor, 1, 1, nondet_bool());
	case 1:
		*taken = 2;
		return sandboxd_take_u16(cursor, 1, &u16);
	case 2:
		*taken = 4;
		return sandboxd_take_u32(cursor, 1, &u32);
	case 3:
		*taken = 8;
		return sandboxd_take_u64(cursor, 1, &u64);
	case 4:
		*taken = 8;
		return sandboxd_take_constant(cursor, 1, 8, nondet_u64());
	case 5:
		return sandboxd_take_tail(cursor, 1, nondet_u32(), slice);
	case 6:
		return sandboxd_end(cursor);
	default:
		return sandboxd_take_bytes(cursor, 1, nondet_u32(), true, slice);
	}
}

void prove(void)
{
	size_t size = nondet_upto(SANDBOXD_MAX_BODY);
	uint8_t *body = malloc(size);
	ASSUME(body);
	struct sandboxd_fault_at fault;
	struct sandboxd_cursor cursor = { body, size, nondet_upto(SANDBOXD_MAX_BODY), &fault };
	ASSUME(cursor.at <= size);
	size_t before = cursor.at;
	struct sandboxd_slice slice = { body, 0 };
	unsigned taken = 0;

	if (take(&cursor, &slice, &taken)) {
		PROVE(taken == 0 || cursor.at == before + taken);
		PROVE(slice.data >= body && slice.data <= body + size);
		PROVE(slice.size <= size - (size_t)(slice.data - body));
		PROVE(slice.size == 0 || slice.data + slice.size == body + cursor.at);
		WITNESS(slice.size > 1000000);
		WITNESS(taken == 8 && cursor.at == size);
	} else {
		PROVE(fault.fault >= SANDBOXD_FAULT_TRUNCATED);
		PROVE(fault.fault <= SANDBOXD_FAULT_TRAILING_BYTES);
		PROVE(fault.offset <= SANDBOXD_HEADER_SIZE + size);
		WITNESS(fault.fault == SANDBOXD_FAULT_TOO_LONG);
	}
	PROVE(cursor.at >= before && cursor.at <= size);
}

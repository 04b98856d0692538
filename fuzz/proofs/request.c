/* Proves that the body of an exec_request is either refused, or decoded so that each string and
 * list lies in the body.
 *
 * Functions: sandboxd_decode_exec_request sandboxd_no_list sandboxd_known_stdin_kind
 *	sandboxd_take_bool
 * Bound: the proof covers every body of up to 67 bytes, with strings of up to 3 bytes and
 *	lists of up to 2 elements, in every version of the protocol
 * Unwind: 9 sandboxd_take_list.0:3 sandboxd_no_nul.0:4
 * Beyond: more turns of a loop are not examined, because cursor.c and list.c prove each turn */
#include "proof.h"

enum { SIZE = 67 };

static bool inside(struct sandboxd_slice slice, const uint8_t *body, size_t size)
{
	return slice.data >= body + 4 && slice.data <= body + size &&
	       slice.size <= size - (size_t)(slice.data - body);
}

static bool holds(struct sandboxd_list list, const uint8_t *body, size_t size)
{
	return inside((struct sandboxd_slice){ list.items, list.size }, body, size) &&
	       list.size >= 4 * list.count;
}

void prove(void)
{
	uint8_t body[SIZE];
	uint32_t size = (uint32_t)nondet_upto(SIZE), version = nondet_u32();
	struct sandboxd_exec_request request;
	struct sandboxd_fault_at fault;

	if (!sandboxd_decode_exec_request(body, size, version, &request, &fault)) {
		PROVE(fault.fault >= SANDBOXD_FAULT_TRUNCATED);
		PROVE(fault.offset <= SANDBOXD_HEADER_SIZE + size);
		PROVE(fault.field <= 16);
		return;
	}
	/* Each string must follow its length, because the daemon moves it by one byte to the front. */
	PROVE(inside(request.command, body, size));
	PROVE(inside(request.cwd, body, size));
	PROVE(inside(request.user, body, size));
	PROVE(holds(request.argv, body, size));
	PROVE(holds(request.env, body, size));
	if (version >= 2) {
		PROVE(holds(request.more_argv, body, size));
		PROVE(holds(request.more_env, body, size));
	} else {
		PROVE(request.more_argv.count == 0 && request.more_env.count == 0);
	}
	PROVE((!request.beside && !request.joined) || version >= 4);
	WITNESS(request.beside && request.joined);
	WITNESS(request.argv.count == 2 && request.user.size == 3);
	WITNESS(request.more_argv.count == 1 && request.more_env.count == 2);
}

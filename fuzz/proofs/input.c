/* The ring of standard input: from every state, what the host sends, what the command reads, and
 * what the host is allowed after that.
 *
 * Functions: input_open input_close input_add input_poll input_run input_room put refuse write_on
 * Bound: every state of a ring of 32 bytes, every piece the host has been allowed to send
 * Assumes: that size in the place of 262144; of the writes of one turn, the fourth would block;
 *	session.c keeps the host to what it was allowed
 * Unwind: 5 */
#include "system.h"

#define SANDBOXD_EXEC_STDIN_DATA_MAX 8

#include <input.c>

/* The host's credit, as session.c keeps it. */
static bool valid(const struct input *input, uint32_t allowed)
{
	return input->start < INPUT_SIZE && input->size <= INPUT_SIZE &&
	       allowed <= INPUT_SIZE - sizeof end_of_file && (input->fd >= 0 || input->size == 0) &&
	       (input->ended || input->size + allowed <= INPUT_SIZE - sizeof end_of_file);
}

static uint8_t waiting(const struct input *input, uint32_t number)
{
	return ring[(input->start + number) % INPUT_SIZE];
}

void prove(void)
{
	struct input input, before;
	uint32_t allowed = 0;

	input_open(&input, nondet_int(), nondet_bool());
	PROVE(valid(&input, 0));
	input.start = (uint32_t)nondet_upto(INPUT_SIZE);
	input.size = (uint32_t)nondet_upto(INPUT_SIZE);
	input.ended = nondet_bool();
	__CPROVER_havoc_object(ring);
	allowed = (uint32_t)nondet_upto(INPUT_SIZE);
	ASSUME(valid(&input, allowed));

	uint8_t bytes[SANDBOXD_EXEC_STDIN_DATA_MAX];
	struct sandboxd_slice data = { bytes, (uint32_t)nondet_upto(sizeof bytes) };
	ASSUME(data.size <= allowed);
	uint32_t some = (uint32_t)nondet_upto(INPUT_SIZE - 1);
	before = input;
	uint8_t old = waiting(&before, some);
	if (nondet_bool()) {
		allowed -= data.size;
		input_add(&input, data);
		PROVE(valid(&input, allowed));
		/* What came goes behind what waits, and leaves it as it was. */
		PROVE(some >= before.size || waiting(&input, some) == old);
		if (before.fd >= 0 && !before.ended && data.size > 0) {
			PROVE(input.size == before.size + data.size);
			PROVE(some >= data.size ||
			      waiting(&input, before.size + some) == bytes[some]);
		}
		WITNESS(input.size == INPUT_SIZE);
	} else {
		input_run(&input, nondet_short());
		PROVE(valid(&input, allowed));
		PROVE(input.size <= before.size);
		WITNESS(input.size > 0 && input.start < before.start);
	}

	uint32_t room = input_room(&input, allowed);
	PROVE(room == 0 || room >= INPUT_SIZE / 2);
	PROVE(valid(&input, allowed + room));
	WITNESS(room > 0);
}

/* Standard input: from every state of what waits, what the host sends, what the command reads, and
 * what the host is allowed after that.
 *
 * Functions: input_open input_close input_add input_poll input_run input_room keep pass refuse write_on free_space size_of
 * Bound: every state of a room of 32 bytes, every piece the host has been allowed to send, every pipe
 * Assumes: that size in the place of 1048576; of the writes of one turn, the fourth would block;
 *	session.c keeps the host to what it was allowed
 * Unwind: 5 */
#include "proof.h"

#define SANDBOXD_EXEC_STDIN_DATA_MAX 2

#include <input.c>

/* The host's credit, as session.c keeps it. */
static bool valid(const struct input *input, uint32_t allowed)
{
	uint64_t end = (uint64_t)input->start + input->size;

	if (input->fd < 0)
		return input->size == 0;
	return input->start <= INPUT_SIZE && input->size <= INPUT_SIZE - input->start &&
	       (input->ended || ((input->size > 0 || input->start == 0) &&
				 allowed <= INPUT_SIZE - sizeof end_of_file &&
				 end <= INPUT_SIZE - sizeof end_of_file - allowed));
}

static uint8_t at(const struct input *input, uint32_t number)
{
	return waiting[input->start + number];
}

void prove(void)
{
	struct input first, input;
	uint32_t allowed = (uint32_t)nondet_upto(INPUT_SIZE);

	input_open(&first, nondet_int(), nondet_bool());
	PROVE(valid(&first, 0));
	__CPROVER_havoc_object(waiting);
	ASSUME(valid(&input, allowed));

	uint8_t bytes[SANDBOXD_EXEC_STDIN_DATA_MAX];
	struct sandboxd_slice data = { bytes, (uint32_t)nondet_upto(sizeof bytes) };
	ASSUME(data.size <= allowed);
	const struct input before = input;
	uint32_t some = (uint32_t)nondet_upto(INPUT_SIZE - 1);
	uint8_t old = some < before.size ? at(&before, some) : 0;
	if (nondet_bool()) {
		allowed -= data.size;
		input_add(&input, data);
		PROVE(valid(&input, allowed));
		if (before.fd >= 0 && !before.ended && data.size > 0 && !input.refused) {
			uint32_t kept = input.size - before.size;

			/* What came goes behind what waits and leaves it as it was; where nothing
			 * does, its beginning is written. */
			PROVE(some >= before.size || at(&input, some) == old);
			PROVE(kept == data.size || (before.size == 0 && kept < data.size));
			PROVE(some >= kept ||
			      at(&input, before.size + some) == bytes[data.size - kept + some]);
			WITNESS(kept == 1 && data.size == 2);
		}
		WITNESS(input.start + input.size == INPUT_SIZE);
	} else {
		input_run(&input, nondet_short());
		PROVE(valid(&input, allowed));
		PROVE(input.size <= before.size);
		WITNESS(input.size > 0 && input.start > before.start);
	}

	bool waited = nondet_bool();
	uint32_t room = input_room(&input, allowed, waited);
	PROVE(room == 0 || input.size == 0);
	PROVE(valid(&input, allowed + room));
	/* Whoever may send nothing is waited for, or something else is that comes. */
	bool awaited = input.withheld || (input_poll(&input).events & POLLOUT);
	PROVE(allowed + room > 0 || awaited || input.ended || input.fd < 0);
	PROVE(!(waited && input.withheld));
	WITNESS(room > 0 && !waited);
	WITNESS(input.withheld);
	WITNESS(input.full);
}

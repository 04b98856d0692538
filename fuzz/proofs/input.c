/* Passes standard input to the command: in every state of the waiting bytes, adds bytes of the host,
 * writes bytes to the pipe, and gives new credit.
 *
 * Functions: input_open input_close input_add input_poll input_run input_room keep pass refuse write_on free_space size_of
 * Bound: every state of a buffer of 32 bytes, every piece within the credit, every state of the pipe
 * Assumes: 32 bytes instead of 1048576; the fourth write of a turn would block; session.c refuses input
 *	beyond the credit
 * Unwind: 5 */
#include "proof.h"

#define SANDBOXD_EXEC_STDIN_DATA_MAX 2

#include <input.c>

/* Returns whether the daemon's input can be in this state. `allowed` is the number of bytes of input
 * that the host may still send, which session.c counts. */
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

			/* New bytes are appended to the waiting bytes, which do not change. If no
			 * bytes wait, the first new bytes are written directly. */
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
	/* If the host may send no input, poll waits for room in the pipe, or for a timeout, after
	 * which the host gets new credit. */
	bool awaited = input.withheld || (input_poll(&input).events & POLLOUT);
	PROVE(allowed + room > 0 || awaited || input.ended || input.fd < 0);
	PROVE(!(waited && input.withheld));
	WITNESS(room > 0 && !waited);
	WITNESS(input.withheld);
	WITNESS(input.full);
}

/* Proves that input.c passes standard input to the command, in every state of its buffer: adding
 * bytes of the host, writing bytes to the pipe, and giving new credit are correct.
 *
 * Functions: input_open input_close input_limit input_add input_poll input_run input_room keep pass
 *	refuse write_on free_space size_of
 * Bound: the proof covers every state of the buffers of the first slot and of the last one,
 *	every piece of input that the credit permits, and every state of the pipe
 * Assumes: the buffers have 48 and 3 bytes instead of 1048576 and 65536; the daemon has 3
 *	slots instead of 64; in one turn of the main loop, at most three writes to the pipe
 *	succeed, and the fourth would block; session.c refuses input beyond the credit
 * Unwind: 5 */
#include "proof.h"

#define SANDBOXD_EXEC_STDIN_DATA_MAX 3
#undef SANDBOXD_MAX_COMMANDS
#define SANDBOXD_MAX_COMMANDS 3

#include <input.c>

/* Returns whether the daemon's input can be in this state. `allowed` is the number of bytes of input
 * that the host may still send, which session.c counts. */
static bool valid(const struct input *input, uint32_t allowed)
{
	uint64_t end = (uint64_t)input->start + input->size;

	if (input->fd < 0)
		return input->size == 0;
	return input->start <= input->room && input->size <= input->room - input->start &&
	       (input->ended || ((input->size > 0 || input->start == 0) &&
				 allowed <= input->room - sizeof end_of_file &&
				 end <= input->room - sizeof end_of_file - allowed));
}

static uint8_t at(const struct input *input, uint32_t number)
{
	return input->buffer[input->start + number];
}

static void prove_slot(uint32_t slot)
{
	struct input first, input;
	uint32_t allowed = (uint32_t)nondet_upto(input_limit(slot));

	input_open(&first, nondet_int(), nondet_bool(), slot);
	PROVE(valid(&first, 0));
	__CPROVER_havoc_object(waiting);
	input.room = first.room;
	input.buffer = first.buffer;
	ASSUME(valid(&input, allowed));
	/* `kept_byte` is a byte of `waiting`. If `is_foreign` is true, this byte belongs to the
	 * buffer of another slot, so `input_add` must not change it. */
	uint32_t foreign = (uint32_t)nondet_upto(sizeof waiting - 1);
	uint8_t kept_byte = waiting[foreign];
	bool is_foreign = slot && foreign < sizeof waiting - INPUT_SHARE;

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
			WITNESS(slot || (kept == 1 && data.size == 2));
		}
		WITNESS(input.start + input.size == input_limit(slot));
	} else {
		input_run(&input, nondet_short());
		PROVE(valid(&input, allowed));
		PROVE(input.size <= before.size);
		WITNESS(input.size > 0 && input.start > before.start);
	}

	PROVE(!is_foreign || waiting[foreign] == kept_byte);
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
	WITNESS(slot || input.withheld);
	WITNESS(input.full);
}

void prove_first_slot(void) { prove_slot(0); }

void prove_last_slot(void) { prove_slot(SANDBOXD_MAX_COMMANDS - 1); }

/* The receiver of frames on a serial line: one byte, in whatever state those before have left it.
 *
 * Functions: meter_receive meter_end_frame meter_store meter_judge meter_accept meter_is_foreign
 *	meter_decode_frame meter_decode_header meter_seed_of meter_crc
 * Bound: any number of bytes, of either end of examples/serial; every frame up to the longest
 * Assumes: fewer than 2^64 bytes between two zeros
 * Wraps: unsigned-overflow conversion
 * Unwind: 50 */
#include "proof.h"

#include "../examples/serial/protocol.h"

static struct meter_receiver r;

static void prove_from(enum meter_end sender, uint8_t *room, size_t size)
{
	struct meter_receiver any;

	meter_receiver_init(&r, sender, METER_VERSION, room);
	PROVE(r.frame == room && r.room == size && r.size <= size + 1);
	any.frame = room;
	any.room = size;
	any.sender = sender;
	any.version = nondet_u32();
	ASSUME(any.size <= size + 1 && any.wire < SIZE_MAX - 1);
	r = any;
	if (meter_receive(&r, nondet_byte())) {
		PROVE(r.header.body_length <= METER_MAX_BODY);
		PROVE(r.frames == (uint32_t)(any.frames + 1) && r.bad == any.bad);
		WITNESS(r.header.body_length > 2);
	} else {
		PROVE(r.frames == any.frames);
		PROVE(r.bad == any.bad || r.fault.fault != METER_FAULT_NONE);
		WITNESS(r.size == size + 1);
		WITNESS(r.foreign != any.foreign);
	}
	PROVE(r.frame == room && r.room == size && r.size <= size + 1);
}

void prove_reader(void)
{
	static uint8_t room[METER_ROOM_FROM_READER];

	__CPROVER_havoc_object(room);
	prove_from(METER_READER, room, sizeof room);
}

void prove_meter(void)
{
	static uint8_t room[METER_ROOM_FROM_METER];

	__CPROVER_havoc_object(room);
	prove_from(METER_METER, room, sizeof room);
}

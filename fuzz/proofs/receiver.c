/* Receives one byte of a serial line, in any state of the receiver.
 *
 * Bound: any number of bytes, from either side of the protocol in examples/serial; every frame
 *	that the encoder makes, up to the longest
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
	uint8_t room[METER_ROOM_FROM_READER];

	prove_from(METER_READER, room, sizeof room);
}

void prove_meter(void)
{
	uint8_t room[METER_ROOM_FROM_METER];

	prove_from(METER_METER, room, sizeof room);
}

/* Proves for a frame that the encoder stuffs (by COBS) that it fits, and only its last byte is zero. */
void prove_stuffed(void)
{
	uint8_t model[32];
	static uint8_t out[METER_IDENTITY_MAX_FRAME];
	size_t room = nondet_upto(sizeof out);
	size_t at = nondet_upto(sizeof out - 1);
	struct meter_identity identity = { nondet_u32(), { model, (uint32_t)nondet_upto(33) } };

	size_t size = meter_encode_identity(out, room, METER_VERSION, nondet_byte(), nondet_u16(),
					    &identity);
	PROVE(size <= room);
	PROVE(size == 0 || out[size - 1] == 0);
	PROVE(size == 0 || at >= size - 1 || out[at] != 0);
	WITNESS(size == sizeof out);
	WITNESS(size == 0 && room == sizeof out);
}

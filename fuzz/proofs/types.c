/* Decodes and encodes the messages of types.toml. This schema, which only proofs use, has the types
 * that no message of sandboxd uses.
 *
 * Bound: every body up to two bytes longer than the longest, any message, with text of up to 7 bytes
 *	and items of up to 12, every room up to the length of the longest frame, every version
 * Unwind: 8 types_get.0:9 types_put.0:9
 * Objects: 10
 * Wraps: conversion */
#include "proof.h"

#include <types.h>

enum {
	FIXED = TYPES_FIXED_MAX_BODY + 2,
	VARIABLE = TYPES_VARIABLE_MAX_BODY + 2,
	BYTES = TYPES_VARIABLE_TITLE_MAX + 1,
	ITEMS = 12,
};

static struct types_fault_at fault;

/* Proves that the reported offset of a fault is within the frame. */
static void look_at_fault(size_t size)
{
	PROVE(fault.fault >= TYPES_FAULT_TRUNCATED && fault.fault <= TYPES_FAULT_NOT_FINITE);
	PROVE(fault.offset <= TYPES_HEADER_SIZE + size);
}

void prove_decoding_fixed(void)
{
	uint8_t body[FIXED];
	size_t size = nondet_upto(FIXED);
	uint32_t version = nondet_u32();
	struct types_fixed message;

	if (!types_decode_fixed(body, size, version, &message, &fault)) {
		look_at_fault(size);
		WITNESS(fault.fault == TYPES_FAULT_NOT_FINITE);
		WITNESS(fault.fault == TYPES_FAULT_UNKNOWN_VALUE);
		return;
	}
	PROVE(size ==
	      (version < 2 ? TYPES_FIXED_MAX_BODY - TYPES_READING_SIZE : TYPES_FIXED_MAX_BODY));
	PROVE(types_check_fixed(version, &message) == TYPES_FAULT_NONE);
	PROVE(types_is_finite_f32(&message.reading.points[1].x));
	WITNESS(message.reading.valid);
}

static void look_at_list(struct types_list list, const uint8_t *body, size_t size, size_t item)
{
	PROVE(list.size == list.count * item);
	PROVE(list.items >= body && list.items + list.size <= body + size);
}

void prove_decoding_variable(void)
{
	uint8_t body[VARIABLE];
	size_t size = nondet_upto(VARIABLE);
	struct types_variable message;
	struct types_point point;

	if (!types_decode_variable(body, size, 2, &message, &fault)) {
		look_at_fault(size);
		WITNESS(fault.fault == TYPES_FAULT_NOT_UTF8);
		WITNESS(fault.fault == TYPES_FAULT_TOO_MANY);
		return;
	}
	PROVE(types_check_variable(2, &message) == TYPES_FAULT_NONE);
	PROVE(message.title.data == body + 1 && message.title.size <= TYPES_VARIABLE_TITLE_MAX);
	look_at_list(message.points, body, size, TYPES_POINT_SIZE);
	look_at_list(message.samples, body, size, sizeof(uint16_t));
	const uint8_t *at = message.points.items;
	for (uint32_t i = 0; i < message.points.count; i++) {
		types_next_point(&at, &point);
		PROVE(types_is_finite_f32(&point.x) && types_known_access(point.access, 2));
	}
	PROVE(at == message.points.items + message.points.size);
	WITNESS(message.points.count == 2 && message.samples.count == 2);
}

static uint8_t out[TYPES_HEADER_SIZE + TYPES_MAX_BODY];
static const uint8_t *const in = out + TYPES_HEADER_SIZE;

void prove_encoding_fixed(void)
{
	struct types_fixed message;
	size_t room = nondet_upto(sizeof out);
	uint32_t version = nondet_u32();
	size_t size = types_encode_fixed(out, room, version, &message);

	if (size == 0) {
		PROVE(!types_encode_fixed(NULL, room, version, &message));
		return;
	}
	PROVE(size <= room);
	PROVE(types_decode_fixed(in, size - TYPES_HEADER_SIZE, version, &message, &fault));
	WITNESS(size == TYPES_HEADER_SIZE + TYPES_FIXED_MAX_BODY);
}

void prove_encoding_variable(void)
{
	uint8_t title[BYTES], points[ITEMS], samples[ITEMS];
	size_t room = nondet_upto(sizeof out);
	uint32_t version = nondet_u32();
	struct types_variable message;

	message.title = (struct types_slice){ title, (uint32_t)nondet_upto(BYTES) };
	message.points = (struct types_list){ points, (uint32_t)nondet_upto(ITEMS), nondet_u32() };
	message.samples = (struct types_list){ samples, (uint32_t)nondet_upto(ITEMS),
					       nondet_u32() };
	size_t size = types_encode_variable(out, room, version, &message);

	if (size == 0) {
		PROVE(!types_encode_variable(NULL, room, version, &message));
		return;
	}
	PROVE(size <= room);
	PROVE(types_decode_variable(in, size - TYPES_HEADER_SIZE, version, &message, &fault));
	WITNESS(message.points.count == 2 && message.title.size == 4);
}

/* The wire protocol of meter, version 1. Generated from meter.toml by `microvm-proto gen`. This
 * header needs C99 or C++11, or later, and string.h. It allocates no memory. Only a receiver
 * keeps state. Decoders check every value against its bounds. Decoded slices point into the
 * frame, so keep the frame while you use them. */
#ifndef METER_PROTOCOL_H
#define METER_PROTOCOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define METER_VERSION 1u
#define METER_SCHEMA_DIGEST 0xef242eb51e314b12ULL

/* The two ends of a connection. The sender of a message is one of them, or both. */
enum meter_end {
	METER_READER = 1,
	METER_METER = 2,
	METER_BOTH = 3,
};

/* Reasons for which a frame is rejected; 0 means that it is valid. */
enum meter_fault {
	METER_FAULT_NONE = 0,
	/* No message has this type. */
	METER_FAULT_UNKNOWN_TYPE = 1,
	/* Only the other side may send this message. */
	METER_FAULT_BAD_DIRECTION = 2,
	/* The header's flags are not 0. */
	METER_FAULT_RESERVED_FLAGS = 3,
	/* The id is 0 but the message needs one, or not 0 but the message has none. */
	METER_FAULT_BAD_ID = 4,
	/* The body is longer than this message's maximum. */
	METER_FAULT_BODY_TOO_LONG = 5,
	/* A field, or the length of a field, extends beyond the body. */
	METER_FAULT_TRUNCATED = 6,
	/* A value of variable length is longer than its bound. */
	METER_FAULT_TOO_LONG = 7,
	/* A list has more items than its bound. */
	METER_FAULT_TOO_MANY = 8,
	/* The items of a list, with their lengths, exceed its total bound. */
	METER_FAULT_TOTAL_TOO_LONG = 9,
	/* A value is not among those that its field allows. */
	METER_FAULT_UNKNOWN_VALUE = 10,
	/* A value that must not contain a NUL byte contains one. */
	METER_FAULT_EMBEDDED_NUL = 11,
	/* The body continues after its last field. */
	METER_FAULT_TRAILING_BYTES = 12,
	/* Text is not valid UTF-8. */
	METER_FAULT_NOT_UTF8 = 13,
	/* A float that must be finite is a NaN or an infinity. */
	METER_FAULT_NOT_FINITE = 14,
	/* The frame's check is wrong. */
	METER_FAULT_BAD_CHECK = 15,
	/* The bytes between two delimiters are not a stuffed frame. */
	METER_FAULT_BAD_STUFFING = 16,
};

/* The types of messages. */
enum meter_type {
	/* Asks for the model and serial number. */
	METER_TYPE_IDENTIFY = 1,
	/* Answers `identify`. */
	METER_TYPE_IDENTITY = 2,
	/* Asks for measurements; all messages of the answer have its id. */
	METER_TYPE_MEASURE = 3,
	/* One measurement. */
	METER_TYPE_READING = 4,
	/* All measurements of a request have been sent. */
	METER_TYPE_DONE = 5,
	/* The counts of received frames since the meter was switched on; sent before `done`. */
	METER_TYPE_STATUS = 6,
};

/* Returns the name of a fault, or "unknown" if no fault has this number. */
static inline const char *meter_fault_name(enum meter_fault fault)
{
	switch (fault) {
	case METER_FAULT_NONE:
		return "none";
	case METER_FAULT_UNKNOWN_TYPE:
		return "unknown_type";
	case METER_FAULT_BAD_DIRECTION:
		return "bad_direction";
	case METER_FAULT_RESERVED_FLAGS:
		return "reserved_flags";
	case METER_FAULT_BAD_ID:
		return "bad_id";
	case METER_FAULT_BODY_TOO_LONG:
		return "body_too_long";
	case METER_FAULT_TRUNCATED:
		return "truncated";
	case METER_FAULT_TOO_LONG:
		return "too_long";
	case METER_FAULT_TOO_MANY:
		return "too_many";
	case METER_FAULT_TOTAL_TOO_LONG:
		return "total_too_long";
	case METER_FAULT_UNKNOWN_VALUE:
		return "unknown_value";
	case METER_FAULT_EMBEDDED_NUL:
		return "embedded_nul";
	case METER_FAULT_TRAILING_BYTES:
		return "trailing_bytes";
	case METER_FAULT_NOT_UTF8:
		return "not_utf8";
	case METER_FAULT_NOT_FINITE:
		return "not_finite";
	case METER_FAULT_BAD_CHECK:
		return "bad_check";
	case METER_FAULT_BAD_STUFFING:
		return "bad_stuffing";
	}
	return "unknown";
}

/* Returns the name of a message, or "unknown" if no message has this number. */
static inline const char *meter_message_name(uint16_t type)
{
	switch (type) {
	case METER_TYPE_IDENTIFY:
		return "identify";
	case METER_TYPE_IDENTITY:
		return "identity";
	case METER_TYPE_MEASURE:
		return "measure";
	case METER_TYPE_READING:
		return "reading";
	case METER_TYPE_DONE:
		return "done";
	case METER_TYPE_STATUS:
		return "status";
	}
	return "unknown";
}

/* The quantity that is measured. */
enum meter_channel {
	/* In millivolts. */
	METER_CHANNEL_VOLTAGE = 1,
	/* In microamperes. */
	METER_CHANNEL_CURRENT = 2,
};

/* Sizes are in bytes; bounds of lists are numbers of items. MAX_TAILLESS_BODY is the largest
 * body of the messages without a tail, most of which are small. MAX_FRAME is the size on the
 * wire; ROOM is the size of a receiver's buffer. */
enum {
	METER_HEADER_SIZE = 4,
	METER_MAX_BODY = 40,
	METER_CHECK_SIZE = 2,
	METER_MAX_BODY_FROM_READER = 3,
	METER_MAX_TAILLESS_BODY_FROM_READER = 3,
	METER_MAX_FRAME_FROM_READER = 11,
	METER_ROOM_FROM_READER = 9,
	METER_MAX_BODY_FROM_METER = 40,
	METER_MAX_TAILLESS_BODY_FROM_METER = 40,
	METER_MAX_FRAME_FROM_METER = 48,
	METER_ROOM_FROM_METER = 46,
	METER_IDENTIFY_MAX_BODY = 0,
	METER_IDENTIFY_MAX_FRAME = 8,
	METER_IDENTITY_MAX_BODY = 40,
	METER_IDENTITY_MAX_FRAME = 48,
	METER_IDENTITY_MODEL_MAX = 32,
	METER_MEASURE_MAX_BODY = 3,
	METER_MEASURE_MAX_FRAME = 11,
	METER_READING_MAX_BODY = 8,
	METER_READING_MAX_FRAME = 16,
	METER_DONE_MAX_BODY = 0,
	METER_DONE_MAX_FRAME = 8,
	METER_STATUS_MAX_BODY = 12,
	METER_STATUS_MAX_FRAME = 20,
};

/* Bytes inside a frame. They are not terminated by a NUL. */
struct meter_slice {
	const uint8_t *data;
	uint32_t size;
};

/* The encoded items of a list inside a frame. An item of variable size is preceded by its length;
 * `size` is the number of bytes of all items and lengths. */
struct meter_list {
	const uint8_t *items;
	uint32_t size;
	uint32_t count;
};

static inline struct meter_slice meter_no_slice(void)
{
	const struct meter_slice none = { NULL, 0 };

	return none;
}

static inline struct meter_list meter_no_list(void)
{
	const struct meter_list none = { NULL, 0, 0 };

	return none;
}

struct meter_header {
	uint32_t body_length;
	uint8_t type;
	uint16_t id;
	uint8_t sequence;
};

/* The reason for which decoding failed, the offset of the error from the start of the frame, and
 * the number of the field, counted from 1, or 0 for the header. */
struct meter_fault_at {
	enum meter_fault fault;
	uint32_t offset;
	uint8_t field;
};

/* Answers `identify`. */
struct meter_identity {
	/* The serial number. */
	uint32_t serial;
	/* The model of the meter in ASCII. */
	struct meter_slice model;
};

/* Asks for measurements; all messages of the answer have its id. */
struct meter_measure {
	/* The quantity to measure. */
	uint8_t channel;
	/* The number of measurements. */
	uint16_t times;
};

/* One measurement. */
struct meter_reading {
	/* The number of the measurement since the meter was switched on, from 0. */
	uint32_t tick;
	/* The measured value in the unit of the channel. */
	int32_t value;
};

/* The counts of received frames since the meter was switched on; sent before `done`. */
struct meter_status {
	/* The number of valid frames. */
	uint32_t frames;
	/* The number of frames that were refused. */
	uint32_t bad;
	/* The number of frames that are missing, by the numbers of the other frames. */
	uint32_t lost;
};

/* The body of any message. */
union meter_body {
	struct meter_identity identity;
	struct meter_measure measure;
	struct meter_reading reading;
	struct meter_status status;
};

static inline uint64_t meter_get(const uint8_t *from, unsigned size)
{
	uint64_t value = 0;

	for (unsigned i = 0; i < size; i++)
		value |= (uint64_t)from[i] << (8 * i);
	return value;
}

static inline uint8_t *meter_put(uint8_t *at, unsigned size, uint64_t value)
{
	for (unsigned i = 0; i < size; i++)
		at[i] = (uint8_t)(value >> (8 * i));
	return at + size;
}

/* Copies `size` bytes to `at`, and returns the end of the copy. Does not copy if `data` is `at`, so
 * that a program can read a tail directly into its frame. */
static inline uint8_t *meter_put_bytes(uint8_t *at, const uint8_t *data, uint32_t size)
{
	if (size > 0 && data != at)
		memmove(at, data, (size_t)size);
	return at + size;
}

static inline void meter_put_header(uint8_t *out, uint16_t type, uint16_t id, uint8_t sequence)
{
	meter_put(out, 1, type);
	meter_put(out + 1, 2, id);
	meter_put(out + 3, 1, sequence);
}

static inline bool meter_fail(struct meter_fault_at *at, enum meter_fault fault, size_t offset,
	uint8_t field)
{
	at->fault = fault;
	at->offset = (uint32_t)offset;
	at->field = field;
	return false;
}

/* The state of decoding a body. The offset `at` never exceeds `size`. */
struct meter_cursor {
	const uint8_t *body;
	size_t size;
	size_t at;
	struct meter_fault_at *fault;
};

static inline bool meter_refuse(const struct meter_cursor *cursor, enum meter_fault fault, size_t at,
	uint8_t field)
{
	return meter_fail(cursor->fault, fault, METER_HEADER_SIZE + at, field);
}

static inline bool meter_take(struct meter_cursor *cursor, uint8_t field, unsigned size,
	uint64_t *value)
{
	if (cursor->size - cursor->at < size)
		return meter_refuse(cursor, METER_FAULT_TRUNCATED, cursor->at, field);
	*value = meter_get(cursor->body + cursor->at, size);
	cursor->at += size;
	return true;
}

#define METER_DEFINE_TAKE(name, type, size) \
	static inline bool meter_take_##name(struct meter_cursor *cursor, uint8_t field, type *out) \
	{ \
		uint64_t value; \
		if (!meter_take(cursor, field, size, &value)) \
			return false; \
		*out = (type)value; \
		return true; \
	}
METER_DEFINE_TAKE(u8, uint8_t, 1)
METER_DEFINE_TAKE(u16, uint16_t, 2)
METER_DEFINE_TAKE(u32, uint32_t, 4)
METER_DEFINE_TAKE(u64, uint64_t, 8)
METER_DEFINE_TAKE(i8, int8_t, 1)
METER_DEFINE_TAKE(i16, int16_t, 2)
METER_DEFINE_TAKE(i32, int32_t, 4)
METER_DEFINE_TAKE(i64, int64_t, 8)
METER_DEFINE_TAKE(length, uint32_t, 4)
#undef METER_DEFINE_TAKE

/* Reports an unknown value if `known` is false. The value is the last `size` bytes that were read.
 * Returns `known`. */
static inline bool meter_known(const struct meter_cursor *cursor, uint8_t field, unsigned size,
	bool known)
{
	if (!known)
		meter_refuse(cursor, METER_FAULT_UNKNOWN_VALUE, cursor->at - size, field);
	return known;
}

static inline bool meter_take_constant(struct meter_cursor *cursor, uint8_t field, unsigned size,
	uint64_t expected)
{
	uint64_t value;

	return meter_take(cursor, field, size, &value) &&
		meter_known(cursor, field, size, value == expected);
}

static inline bool meter_no_nul(const struct meter_cursor *cursor, uint8_t field,
	const struct meter_slice *slice)
{
	for (uint32_t i = 0; i < slice->size; i++)
		if (slice->data[i] == 0)
			return meter_refuse(cursor, METER_FAULT_EMBEDDED_NUL,
				(size_t)(slice->data - cursor->body) + (size_t)i, field);
	return true;
}

static inline bool meter_take_bytes(struct meter_cursor *cursor, uint8_t field, uint32_t max,
	bool nul, struct meter_slice *out)
{
	size_t prefix = cursor->at;

	if (!meter_take_length(cursor, field, &out->size))
		return false;
	if (out->size > max)
		return meter_refuse(cursor, METER_FAULT_TOO_LONG, prefix, field);
	if (out->size > cursor->size - cursor->at)
		return meter_refuse(cursor, METER_FAULT_TRUNCATED, cursor->at, field);
	out->data = cursor->body + cursor->at;
	cursor->at += (size_t)out->size;
	return nul || meter_no_nul(cursor, field, out);
}

static inline bool meter_take_count(struct meter_cursor *cursor, uint8_t field, uint32_t max_items,
	struct meter_list *out)
{
	size_t prefix = cursor->at;

	if (!meter_take_length(cursor, field, &out->count))
		return false;
	if (out->count > max_items)
		return meter_refuse(cursor, METER_FAULT_TOO_MANY, prefix, field);
	out->items = cursor->body + cursor->at;
	return true;
}

static inline bool meter_take_list(struct meter_cursor *cursor, uint8_t field, uint32_t max_items,
	uint32_t max_item, uint32_t max_total, bool nul, struct meter_list *out)
{
	if (!meter_take_count(cursor, field, max_items, out))
		return false;
	size_t start = cursor->at;
	for (uint32_t i = 0; i < out->count; i++) {
		struct meter_slice item;
		size_t before = cursor->at;

		if (!meter_take_bytes(cursor, field, max_item, nul, &item))
			return false;
		if (cursor->at - start > max_total)
			return meter_refuse(cursor, METER_FAULT_TOTAL_TOO_LONG, before, field);
	}
	out->size = (uint32_t)(cursor->at - start);
	return true;
}

/* Returns the item at `*at` of a decoded list, and advances `*at` to the next item. */
static inline struct meter_slice meter_next(const uint8_t **at)
{
	struct meter_slice item = { *at + 4, (uint32_t)meter_get(*at, 4) };

	*at += 4 + item.size;
	return item;
}

static inline bool meter_take_tail(struct meter_cursor *cursor, uint8_t field, uint32_t max,
	struct meter_slice *out)
{
	size_t left = cursor->size - cursor->at;

	if (left > max)
		return meter_refuse(cursor, METER_FAULT_TOO_LONG, cursor->at, field);
	out->data = cursor->body + cursor->at;
	out->size = (uint32_t)left;
	cursor->at = cursor->size;
	return true;
}

static inline bool meter_end(const struct meter_cursor *cursor)
{
	if (cursor->at != cursor->size)
		meter_refuse(cursor, METER_FAULT_TRAILING_BYTES, cursor->at, 0);
	return cursor->at == cursor->size;
}

static inline bool meter_known_channel(uint8_t value, uint32_t version)
{
	(void)version;
	return value == METER_CHANNEL_VOLTAGE ||
		value == METER_CHANNEL_CURRENT;
}

/* Returns the CRC-16/IBM-3740, computed without a table. */
static inline uint16_t meter_crc(const uint8_t *data, size_t size)
{
	uint32_t crc = 0xffff;

	for (size_t i = 0; i < size; i++) {
		uint32_t x = (crc >> 8 ^ data[i]) & 0xff;

		x ^= x >> 4;
		crc = crc << 8 ^ x << 12 ^ x << 5 ^ x;
	}
	return (uint16_t)crc;
}

/* Returns the number that the checksum is XORed with. It identifies the schema and version, so that
 * a receiver rejects frames of a sender that has another schema. */
static inline uint16_t meter_seed(uint32_t version)
{
	(void)version;
	return 0x644f;
}

static inline uint8_t *meter_put_check(const uint8_t *frame, uint8_t *at, uint32_t version)
{
	uint16_t crc = meter_crc(frame, (size_t)(at - frame));

	return meter_put(at, METER_CHECK_SIZE, (uint64_t)crc ^ meter_seed(version));
}

/* Encodes the bytes from `from` to `end` by COBS into `out`, and appends a zero. `out` must start
 * so far before `from` that no byte is overwritten before it is read. */
static inline uint8_t *meter_stuff(uint8_t *out, const uint8_t *from, const uint8_t *end)
{
	uint8_t *code = out++;

	for (*code = 1; from < end; from++) {
		/* A run has at most 254 bytes. No zero follows a run of this length. */
		if (*code == 0xff) {
			code = out++;
			*code = 1;
		}
		if (*from == 0) {
			code = out++;
			*code = 1;
		} else {
			*out++ = *from;
			++*code;
		}
	}
	*out++ = 0;
	return out;
}

/* A rule for the header of a message. It applies to all versions from `since` on, up to
 * the next rule for the same type. */
struct meter_rule {
	uint16_t type;
	uint8_t sender;
	uint8_t id; /* 0: must be zero, 1: must not be zero, 2: any */
	uint32_t since;
	uint32_t max_body;
};

static const struct meter_rule meter_rules[] = {
	{ METER_TYPE_IDENTIFY, METER_READER, 1, 1, 0 },
	{ METER_TYPE_IDENTITY, METER_METER, 1, 1, 40 },
	{ METER_TYPE_MEASURE, METER_READER, 1, 1, 3 },
	{ METER_TYPE_READING, METER_METER, 1, 1, 8 },
	{ METER_TYPE_DONE, METER_METER, 1, 1, 0 },
	{ METER_TYPE_STATUS, METER_METER, 1, 1, 12 },
	{ 0, 0, 0, 0, 0 },
};

/* Returns the newest rule for a type that applies to `version`, or NULL if there is none. */
static inline const struct meter_rule *meter_find_rule(uint32_t version, uint16_t type)
{
	const struct meter_rule *found = NULL;

	for (const struct meter_rule *rule = meter_rules; rule->type; rule++)
		if (rule->type == type && rule->since <= version)
			found = rule;
	return found;
}

/* Reads and checks the header of a frame of `size` bytes from `sender`. Does not check the checksum
 * and the body. `version`, here and below, is the version that both sides agreed on. */
static inline bool meter_decode_header(const uint8_t *frame, size_t size, enum meter_end sender,
	uint32_t version, struct meter_header *header, struct meter_fault_at *fault)
{
	if (size < METER_HEADER_SIZE + METER_CHECK_SIZE)
		return meter_fail(fault, METER_FAULT_TRUNCATED, size, 0);
	header->body_length = (uint32_t)(size - METER_HEADER_SIZE - METER_CHECK_SIZE);
	header->type = (uint8_t)meter_get(frame, 1);
	header->id = (uint16_t)meter_get(frame + 1, 2);
	header->sequence = (uint8_t)meter_get(frame + 3, 1);
	const struct meter_rule *rule = meter_find_rule(version, header->type);
	if (!rule)
		return meter_fail(fault, METER_FAULT_UNKNOWN_TYPE, 0, 0);
	if (!(rule->sender & sender))
		return meter_fail(fault, METER_FAULT_BAD_DIRECTION, 0, 0);
	if ((rule->id == 1 && header->id == 0) || (rule->id == 0 && header->id != 0))
		return meter_fail(fault, METER_FAULT_BAD_ID, 1, 0);
	if (header->body_length > rule->max_body)
		return meter_fail(fault, METER_FAULT_BODY_TOO_LONG, 0, 0);
	return true;
}

static inline bool meter_decode_identify(const uint8_t *body, size_t size,
	uint32_t version, struct meter_fault_at *fault)
{
	struct meter_cursor cursor = { body, size, 0, fault };

	(void)version;
	return meter_end(&cursor);
}

static inline bool meter_decode_identity(const uint8_t *body, size_t size,
	uint32_t version, struct meter_identity *message, struct meter_fault_at *fault)
{
	struct meter_cursor cursor = { body, size, 0, fault };

	(void)version;
	return meter_take_u32(&cursor, 1, &message->serial) &&
		meter_take_bytes(&cursor, 2, 32, false, &message->model) &&
		meter_end(&cursor);
}

static inline bool meter_decode_measure(const uint8_t *body, size_t size,
	uint32_t version, struct meter_measure *message, struct meter_fault_at *fault)
{
	struct meter_cursor cursor = { body, size, 0, fault };

	return meter_take_u8(&cursor, 1, &message->channel) &&
		meter_known(&cursor, 1, 1, meter_known_channel(message->channel, version)) &&
		meter_take_u16(&cursor, 2, &message->times) &&
		meter_end(&cursor);
}

static inline bool meter_decode_reading(const uint8_t *body, size_t size,
	uint32_t version, struct meter_reading *message, struct meter_fault_at *fault)
{
	struct meter_cursor cursor = { body, size, 0, fault };

	(void)version;
	return meter_take_u32(&cursor, 1, &message->tick) &&
		meter_take_i32(&cursor, 2, &message->value) &&
		meter_end(&cursor);
}

static inline bool meter_decode_done(const uint8_t *body, size_t size,
	uint32_t version, struct meter_fault_at *fault)
{
	struct meter_cursor cursor = { body, size, 0, fault };

	(void)version;
	return meter_end(&cursor);
}

static inline bool meter_decode_status(const uint8_t *body, size_t size,
	uint32_t version, struct meter_status *message, struct meter_fault_at *fault)
{
	struct meter_cursor cursor = { body, size, 0, fault };

	(void)version;
	return meter_take_u32(&cursor, 1, &message->frames) &&
		meter_take_u32(&cursor, 2, &message->bad) &&
		meter_take_u32(&cursor, 3, &message->lost) &&
		meter_end(&cursor);
}

/* Decodes the body of a frame whose header meter_decode_header has accepted. */
static inline bool meter_decode_body(const struct meter_header *header, const uint8_t *body,
	uint32_t version, union meter_body *out, struct meter_fault_at *fault)
{
	(void)version;
	(void)out;
	switch (header->type) {
	case METER_TYPE_IDENTIFY:
		return meter_decode_identify(body, (size_t)header->body_length, version, fault);
	case METER_TYPE_IDENTITY:
		return meter_decode_identity(body, (size_t)header->body_length, version, &out->identity, fault);
	case METER_TYPE_MEASURE:
		return meter_decode_measure(body, (size_t)header->body_length, version, &out->measure, fault);
	case METER_TYPE_READING:
		return meter_decode_reading(body, (size_t)header->body_length, version, &out->reading, fault);
	case METER_TYPE_DONE:
		return meter_decode_done(body, (size_t)header->body_length, version, fault);
	case METER_TYPE_STATUS:
		return meter_decode_status(body, (size_t)header->body_length, version, &out->status, fault);
	default:
		(void)body;
		return meter_fail(fault, METER_FAULT_UNKNOWN_TYPE, 0, 0);
	}
}

/* Returns the fault of bytes that must not contain NUL, or FAULT_NONE. */
static inline enum meter_fault meter_check_bytes(const struct meter_slice *bytes, uint32_t max)
{
	struct meter_fault_at at = { METER_FAULT_NONE, 0, 0 };
	const struct meter_cursor cursor = { bytes->data, (size_t)bytes->size, 0, &at };

	if (bytes->size > max)
		return METER_FAULT_TOO_LONG;
	meter_no_nul(&cursor, 0, bytes);
	return at.fault;
}

/* Checks a list, in which a length precedes each item. Returns its fault, or FAULT_NONE. */
static inline enum meter_fault meter_check_list(const struct meter_list *list, uint32_t max_items,
	uint32_t max_item, uint32_t max_total, bool nul)
{
	struct meter_fault_at at = { METER_FAULT_NONE, 0, 0 };
	struct meter_cursor cursor = { list->items, (size_t)list->size, 0, &at };
	struct meter_slice item;

	if (list->count > max_items)
		return METER_FAULT_TOO_MANY;
	for (uint32_t i = 0; i < list->count; i++) {
		if (!meter_take_bytes(&cursor, 0, max_item, nul, &item))
			return at.fault;
		if (cursor.at > max_total)
			return METER_FAULT_TOTAL_TOO_LONG;
	}
	meter_end(&cursor);
	return at.fault;
}

/* Returns METER_FAULT_NONE if the message is valid, or else the fault that a decoder would find
 * in its frame. */
static inline enum meter_fault meter_check_identify(uint32_t version, uint16_t id)
{
	(void)version;
	if (id == 0)
		return METER_FAULT_BAD_ID;
	return METER_FAULT_NONE;
}

/* Writes a frame into `out`, a buffer of `room` bytes. Returns the size of the frame, or 0 if
 * meter_check_identify finds a fault or the frame does not fit. */
static inline size_t meter_encode_identify(uint8_t *out, size_t room, uint32_t version,
	uint8_t sequence, uint16_t id)
{
	uint32_t size = METER_HEADER_SIZE + METER_CHECK_SIZE + 2;

	if (meter_check_identify(version, id))
		return 0;
	if (size > room)
		return 0;
	uint8_t *frame = out + 1;
	uint8_t *at = frame + METER_HEADER_SIZE;
	meter_put_header(frame, METER_TYPE_IDENTIFY, id, sequence);
	at = meter_put_check(frame, at, version);
	at = meter_stuff(out, frame, at);
	return (size_t)(at - out);
}

/* Returns METER_FAULT_NONE if the message is valid, or else the fault that a decoder would find
 * in its frame. */
static inline enum meter_fault meter_check_identity(uint32_t version, uint16_t id,
	const struct meter_identity *message)
{
	enum meter_fault fault;

	(void)version;
	if (id == 0)
		return METER_FAULT_BAD_ID;
	fault = meter_check_bytes(&message->model, 32);
	if (fault)
		return fault;
	return METER_FAULT_NONE;
}

/* Writes a frame into `out`, a buffer of `room` bytes. Returns the size of the frame, or 0 if
 * meter_check_identity finds a fault or the frame does not fit. */
static inline size_t meter_encode_identity(uint8_t *out, size_t room, uint32_t version,
	uint8_t sequence, uint16_t id, const struct meter_identity *message)
{
	uint32_t size = METER_HEADER_SIZE + METER_CHECK_SIZE + 2;

	if (meter_check_identity(version, id, message))
		return 0;
	size += 8 + message->model.size;
	if (size > room)
		return 0;
	uint8_t *frame = out + 1;
	uint8_t *at = frame + METER_HEADER_SIZE;
	at = meter_put(at, 4, (uint64_t)message->serial);
	at = meter_put(at, 4, message->model.size);
	at = meter_put_bytes(at, message->model.data, message->model.size);
	meter_put_header(frame, METER_TYPE_IDENTITY, id, sequence);
	at = meter_put_check(frame, at, version);
	at = meter_stuff(out, frame, at);
	return (size_t)(at - out);
}

/* Returns METER_FAULT_NONE if the message is valid, or else the fault that a decoder would find
 * in its frame. */
static inline enum meter_fault meter_check_measure(uint32_t version, uint16_t id,
	const struct meter_measure *message)
{
	if (id == 0)
		return METER_FAULT_BAD_ID;
	if (!meter_known_channel(message->channel, version))
		return METER_FAULT_UNKNOWN_VALUE;
	return METER_FAULT_NONE;
}

/* Writes a frame into `out`, a buffer of `room` bytes. Returns the size of the frame, or 0 if
 * meter_check_measure finds a fault or the frame does not fit. */
static inline size_t meter_encode_measure(uint8_t *out, size_t room, uint32_t version,
	uint8_t sequence, uint16_t id, const struct meter_measure *message)
{
	uint32_t size = METER_HEADER_SIZE + METER_CHECK_SIZE + 2;

	if (meter_check_measure(version, id, message))
		return 0;
	size += 3;
	if (size > room)
		return 0;
	uint8_t *frame = out + 1;
	uint8_t *at = frame + METER_HEADER_SIZE;
	at = meter_put(at, 1, (uint64_t)message->channel);
	at = meter_put(at, 2, (uint64_t)message->times);
	meter_put_header(frame, METER_TYPE_MEASURE, id, sequence);
	at = meter_put_check(frame, at, version);
	at = meter_stuff(out, frame, at);
	return (size_t)(at - out);
}

/* Returns METER_FAULT_NONE if the message is valid, or else the fault that a decoder would find
 * in its frame. */
static inline enum meter_fault meter_check_reading(uint32_t version, uint16_t id,
	const struct meter_reading *message)
{
	(void)version;
	(void)message;
	if (id == 0)
		return METER_FAULT_BAD_ID;
	return METER_FAULT_NONE;
}

/* Writes a frame into `out`, a buffer of `room` bytes. Returns the size of the frame, or 0 if
 * meter_check_reading finds a fault or the frame does not fit. */
static inline size_t meter_encode_reading(uint8_t *out, size_t room, uint32_t version,
	uint8_t sequence, uint16_t id, const struct meter_reading *message)
{
	uint32_t size = METER_HEADER_SIZE + METER_CHECK_SIZE + 2;

	if (meter_check_reading(version, id, message))
		return 0;
	size += 8;
	if (size > room)
		return 0;
	uint8_t *frame = out + 1;
	uint8_t *at = frame + METER_HEADER_SIZE;
	at = meter_put(at, 4, (uint64_t)message->tick);
	at = meter_put(at, 4, (uint64_t)message->value);
	meter_put_header(frame, METER_TYPE_READING, id, sequence);
	at = meter_put_check(frame, at, version);
	at = meter_stuff(out, frame, at);
	return (size_t)(at - out);
}

/* Returns METER_FAULT_NONE if the message is valid, or else the fault that a decoder would find
 * in its frame. */
static inline enum meter_fault meter_check_done(uint32_t version, uint16_t id)
{
	(void)version;
	if (id == 0)
		return METER_FAULT_BAD_ID;
	return METER_FAULT_NONE;
}

/* Writes a frame into `out`, a buffer of `room` bytes. Returns the size of the frame, or 0 if
 * meter_check_done finds a fault or the frame does not fit. */
static inline size_t meter_encode_done(uint8_t *out, size_t room, uint32_t version,
	uint8_t sequence, uint16_t id)
{
	uint32_t size = METER_HEADER_SIZE + METER_CHECK_SIZE + 2;

	if (meter_check_done(version, id))
		return 0;
	if (size > room)
		return 0;
	uint8_t *frame = out + 1;
	uint8_t *at = frame + METER_HEADER_SIZE;
	meter_put_header(frame, METER_TYPE_DONE, id, sequence);
	at = meter_put_check(frame, at, version);
	at = meter_stuff(out, frame, at);
	return (size_t)(at - out);
}

/* Returns METER_FAULT_NONE if the message is valid, or else the fault that a decoder would find
 * in its frame. */
static inline enum meter_fault meter_check_status(uint32_t version, uint16_t id,
	const struct meter_status *message)
{
	(void)version;
	(void)message;
	if (id == 0)
		return METER_FAULT_BAD_ID;
	return METER_FAULT_NONE;
}

/* Writes a frame into `out`, a buffer of `room` bytes. Returns the size of the frame, or 0 if
 * meter_check_status finds a fault or the frame does not fit. */
static inline size_t meter_encode_status(uint8_t *out, size_t room, uint32_t version,
	uint8_t sequence, uint16_t id, const struct meter_status *message)
{
	uint32_t size = METER_HEADER_SIZE + METER_CHECK_SIZE + 2;

	if (meter_check_status(version, id, message))
		return 0;
	size += 12;
	if (size > room)
		return 0;
	uint8_t *frame = out + 1;
	uint8_t *at = frame + METER_HEADER_SIZE;
	at = meter_put(at, 4, (uint64_t)message->frames);
	at = meter_put(at, 4, (uint64_t)message->bad);
	at = meter_put(at, 4, (uint64_t)message->lost);
	meter_put_header(frame, METER_TYPE_STATUS, id, sequence);
	at = meter_put_check(frame, at, version);
	at = meter_stuff(out, frame, at);
	return (size_t)(at - out);
}

/* Returns the seed for which the checksum of a frame is correct. */
static inline uint16_t meter_seed_of(const uint8_t *frame, size_t size)
{
	size_t checked = size - (size_t)METER_CHECK_SIZE;

	return (uint16_t)(meter_crc(frame, checked) ^ meter_get(frame + checked, METER_CHECK_SIZE));
}

/* Decodes a complete frame, whose COBS encoding is removed already: checks its header and checksum,
 * and decodes its body. */
static inline bool meter_decode_frame(const uint8_t *frame, size_t size, enum meter_end sender,
	uint32_t version, struct meter_header *header, union meter_body *body,
	struct meter_fault_at *fault)
{
	if (!meter_decode_header(frame, size, sender, version, header, fault))
		return false;
	if (meter_seed_of(frame, size) != meter_seed(version))
		return meter_fail(fault, METER_FAULT_BAD_CHECK, size - (size_t)METER_CHECK_SIZE,
			0);
	return meter_decode_body(header, frame + METER_HEADER_SIZE, version, body, fault);
}

/* A receiver of frames from `sender`. `header` and `body` belong to the last valid frame, and
 * `fault` to the last bad frame. Counters never decrease. Byte counts are those on the wire. */
struct meter_receiver {
	enum meter_end sender;
	uint32_t version; /* the caller may change it between two frames */
	struct meter_header header;
	union meter_body body;
	struct meter_fault_at fault;
	uint32_t frames; /* number of valid frames */
	uint32_t bad; /* number of bad frames; a run of bytes without any frame counts as one */
	uint32_t skipped; /* number of bytes that were rejected */
	uint32_t foreign; /* number of bad frames that seem to be of a sender with another schema */
	uint16_t seed; /* the seed for which the last checksum was correct */
	uint32_t lost; /* number of frames that are missing between the received sequence numbers */
	bool numbered;
	uint8_t next;
	uint8_t *frame;
	size_t room;
	size_t size; /* exceeds `room` if the frame is too long */
	size_t wire;
	uint8_t left; /* number of bytes that the current run still lacks */
	bool zero; /* true if a zero follows the run */
};

/* Initializes a receiver of frames from `sender`. `frame` must have room for the longest of them:
 * METER_ROOM_FROM_SENDER bytes, where SENDER is the name of that end. */
static inline void meter_receiver_init(struct meter_receiver *r, enum meter_end sender, uint32_t version,
	uint8_t *frame)
{
	r->sender = sender;
	r->version = version;
	r->fault.fault = METER_FAULT_NONE;
	r->frames = r->bad = r->skipped = 0;
	r->foreign = 0;
	r->seed = meter_seed(version);
	r->lost = 0;
	r->numbered = false;
	r->frame = frame;
	r->room = (size_t)(sender == METER_READER ?
		METER_ROOM_FROM_READER : METER_ROOM_FROM_METER);
	r->size = r->wire = 0;
	r->left = 0;
	r->zero = false;
}

static inline bool meter_accept(struct meter_receiver *r)
{
	uint8_t gap = r->numbered ? (uint8_t)(r->header.sequence - r->next) : 0;

	/* A lower number belongs to a datagram that arrived out of order. */
	if (gap < 128) {
		r->lost += gap;
		r->next = (uint8_t)(r->header.sequence + 1);
		r->numbered = true;
	}
	r->seed = meter_seed(r->version);
	r->frames++;
	return true;
}

/* Returns true, and counts the frame as foreign, if its wrong checksum is correct for the same seed
 * as that of the frame before. Frames of a sender with another schema have the same seed; two
 * damaged frames hardly ever have. */
static inline bool meter_is_foreign(struct meter_receiver *r, const uint8_t *frame, size_t size)
{
	uint16_t seed = meter_seed_of(frame, size);
	bool again = r->seed == seed;

	r->seed = seed;
	r->foreign += again;
	return again;
}

/* Decodes and counts a complete frame, which had `wire` bytes on the wire. Returns true if it is
 * valid. */
static inline bool meter_ended(struct meter_receiver *r, const uint8_t *frame, size_t size, size_t wire)
{
	if (meter_decode_frame(frame, size, r->sender, r->version, &r->header, &r->body, &r->fault))
		return meter_accept(r);
	r->bad++;
	r->skipped += (uint32_t)wire;
	if (r->fault.fault == METER_FAULT_BAD_CHECK)
		meter_is_foreign(r, frame, size);
	return false;
}

static inline void meter_store(struct meter_receiver *r, uint8_t byte)
{
	if (r->size < r->room)
		r->frame[r->size] = byte;
	if (r->size <= r->room)
		r->size++;
}

/* Processes the zero at the end of a frame. Zeros that follow another zero have no effect. */
static inline bool meter_end_frame(struct meter_receiver *r)
{
	size_t size = r->size, wire = r->wire + 1;
	bool whole = r->left == 0 || size > r->room;

	r->size = r->wire = 0;
	r->left = 0;
	r->zero = false;
	if (wire == 1)
		return false;
	/* If the frame is too long, its header is rejected, so nothing behind the header is read. */
	if (whole)
		return meter_ended(r, r->frame, size, wire);
	r->bad++;
	r->skipped += (uint32_t)wire;
	return meter_fail(&r->fault, METER_FAULT_BAD_STUFFING, 0, 0);
}

/* Processes the next byte. Returns true if it completes a message, which remains valid until the
 * next call. */
static inline bool meter_receive(struct meter_receiver *r, uint8_t byte)
{
	if (byte == 0)
		return meter_end_frame(r);
	r->wire++;
	if (r->left > 0) {
		r->left--;
		meter_store(r, byte);
		return false;
	}
	if (r->zero)
		meter_store(r, 0);
	r->left = (uint8_t)(byte - 1);
	r->zero = byte != 0xff;
	return false;
}

#endif

/* The wire protocol of sensor, version 1. Generated from sensor.toml by `microvm-proto gen`.
 * This header needs C99 or C++11, or later, and string.h. It allocates no memory. It keeps no
 * state. Decoders check every value against its bounds. Decoded slices point into the frame, so
 * keep the frame while you use them. */
#ifndef SENSOR_PROTOCOL_H
#define SENSOR_PROTOCOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define SENSOR_VERSION 1u
#define SENSOR_SCHEMA_DIGEST 0x0b032bff4d772bc3ULL

/* The two ends of a connection. The sender of a message is one of them, or both. */
enum sensor_end {
	SENSOR_READER = 1,
	SENSOR_DEVICE = 2,
	SENSOR_BOTH = 3,
};

/* Reasons for which a frame is rejected; 0 means that it is valid. */
enum sensor_fault {
	SENSOR_FAULT_NONE = 0,
	/* No message has this type. */
	SENSOR_FAULT_UNKNOWN_TYPE = 1,
	/* Only the other side may send this message. */
	SENSOR_FAULT_BAD_DIRECTION = 2,
	/* The header's flags are not 0. */
	SENSOR_FAULT_RESERVED_FLAGS = 3,
	/* The id is 0 but the message needs one, or not 0 but the message has none. */
	SENSOR_FAULT_BAD_ID = 4,
	/* The body is longer than this message's maximum. */
	SENSOR_FAULT_BODY_TOO_LONG = 5,
	/* A field, or the length of a field, extends beyond the body. */
	SENSOR_FAULT_TRUNCATED = 6,
	/* A value of variable length is longer than its bound. */
	SENSOR_FAULT_TOO_LONG = 7,
	/* A list has more items than its bound. */
	SENSOR_FAULT_TOO_MANY = 8,
	/* The items of a list, with their lengths, exceed its total bound. */
	SENSOR_FAULT_TOTAL_TOO_LONG = 9,
	/* A value is not among those that its field allows. */
	SENSOR_FAULT_UNKNOWN_VALUE = 10,
	/* A value that must not contain a NUL byte contains one. */
	SENSOR_FAULT_EMBEDDED_NUL = 11,
	/* The body continues after its last field. */
	SENSOR_FAULT_TRAILING_BYTES = 12,
	/* Text is not valid UTF-8. */
	SENSOR_FAULT_NOT_UTF8 = 13,
	/* A float that must be finite is a NaN or an infinity. */
	SENSOR_FAULT_NOT_FINITE = 14,
	/* The frame's check is wrong. */
	SENSOR_FAULT_BAD_CHECK = 15,
	/* The bytes between two delimiters are not a stuffed frame. */
	SENSOR_FAULT_BAD_STUFFING = 16,
};

/* The types of messages. */
enum sensor_type {
	/* Asks for the name and serial number. */
	SENSOR_TYPE_IDENTIFY = 1,
	/* Answers `identify`. */
	SENSOR_TYPE_IDENTITY = 2,
	/* Asks for measurements; all messages of the answer have its id. */
	SENSOR_TYPE_MEASURE = 3,
	/* One measurement. */
	SENSOR_TYPE_READING = 4,
	/* All measurements of a request have been sent. */
	SENSOR_TYPE_DONE = 5,
	/* Answers a frame that is refused. After a malformed frame, the device stops. */
	SENSOR_TYPE_REFUSED = 6,
};

/* Returns the name of a fault, or "unknown" if no fault has this number. */
static inline const char *sensor_fault_name(enum sensor_fault fault)
{
	switch (fault) {
	case SENSOR_FAULT_NONE:
		return "none";
	case SENSOR_FAULT_UNKNOWN_TYPE:
		return "unknown_type";
	case SENSOR_FAULT_BAD_DIRECTION:
		return "bad_direction";
	case SENSOR_FAULT_RESERVED_FLAGS:
		return "reserved_flags";
	case SENSOR_FAULT_BAD_ID:
		return "bad_id";
	case SENSOR_FAULT_BODY_TOO_LONG:
		return "body_too_long";
	case SENSOR_FAULT_TRUNCATED:
		return "truncated";
	case SENSOR_FAULT_TOO_LONG:
		return "too_long";
	case SENSOR_FAULT_TOO_MANY:
		return "too_many";
	case SENSOR_FAULT_TOTAL_TOO_LONG:
		return "total_too_long";
	case SENSOR_FAULT_UNKNOWN_VALUE:
		return "unknown_value";
	case SENSOR_FAULT_EMBEDDED_NUL:
		return "embedded_nul";
	case SENSOR_FAULT_TRAILING_BYTES:
		return "trailing_bytes";
	case SENSOR_FAULT_NOT_UTF8:
		return "not_utf8";
	case SENSOR_FAULT_NOT_FINITE:
		return "not_finite";
	case SENSOR_FAULT_BAD_CHECK:
		return "bad_check";
	case SENSOR_FAULT_BAD_STUFFING:
		return "bad_stuffing";
	}
	return "unknown";
}

/* Returns the name of a message, or "unknown" if no message has this number. */
static inline const char *sensor_message_name(uint16_t type)
{
	switch (type) {
	case SENSOR_TYPE_IDENTIFY:
		return "identify";
	case SENSOR_TYPE_IDENTITY:
		return "identity";
	case SENSOR_TYPE_MEASURE:
		return "measure";
	case SENSOR_TYPE_READING:
		return "reading";
	case SENSOR_TYPE_DONE:
		return "done";
	case SENSOR_TYPE_REFUSED:
		return "refused";
	}
	return "unknown";
}

/* The quantity that is measured. */
enum sensor_channel {
	/* In thousandths of a degree Celsius. */
	SENSOR_CHANNEL_TEMPERATURE = 1,
	/* In thousandths of a per cent. */
	SENSOR_CHANNEL_HUMIDITY = 2,
};

/* The reason for which a frame is refused: a fault of a malformed frame, or one of these. */
enum sensor_refusal {
	/* No message has this type. */
	SENSOR_REFUSAL_UNKNOWN_TYPE = 1,
	/* Only the other side may send this message. */
	SENSOR_REFUSAL_BAD_DIRECTION = 2,
	/* The header's flags are not 0. */
	SENSOR_REFUSAL_RESERVED_FLAGS = 3,
	/* The id is 0 but the message needs one, or not 0 but the message has none. */
	SENSOR_REFUSAL_BAD_ID = 4,
	/* The body is longer than this message's maximum. */
	SENSOR_REFUSAL_BODY_TOO_LONG = 5,
	/* A field, or the length of a field, extends beyond the body. */
	SENSOR_REFUSAL_TRUNCATED = 6,
	/* A value of variable length is longer than its bound. */
	SENSOR_REFUSAL_TOO_LONG = 7,
	/* A list has more items than its bound. */
	SENSOR_REFUSAL_TOO_MANY = 8,
	/* The items of a list, with their lengths, exceed its total bound. */
	SENSOR_REFUSAL_TOTAL_TOO_LONG = 9,
	/* A value is not among those that its field allows. */
	SENSOR_REFUSAL_UNKNOWN_VALUE = 10,
	/* A value that must not contain a NUL byte contains one. */
	SENSOR_REFUSAL_EMBEDDED_NUL = 11,
	/* The body continues after its last field. */
	SENSOR_REFUSAL_TRAILING_BYTES = 12,
	/* Text is not valid UTF-8. */
	SENSOR_REFUSAL_NOT_UTF8 = 13,
	/* A float that must be finite is a NaN or an infinity. */
	SENSOR_REFUSAL_NOT_FINITE = 14,
	/* The frame's check is wrong. */
	SENSOR_REFUSAL_BAD_CHECK = 15,
	/* The bytes between two delimiters are not a stuffed frame. */
	SENSOR_REFUSAL_BAD_STUFFING = 16,
	/* The request asks for more measurements than the sensor takes at a time. */
	SENSOR_REFUSAL_TOO_OFTEN = 64,
};

/* Sizes are in bytes; bounds of lists are numbers of items. MAX_TAILLESS_BODY is the largest
 * body of the messages without a tail, most of which are small. */
enum {
	SENSOR_HEADER_SIZE = 12,
	SENSOR_MAX_BODY = 68,
	SENSOR_MAX_BODY_FROM_READER = 3,
	SENSOR_MAX_TAILLESS_BODY_FROM_READER = 3,
	SENSOR_MAX_BODY_FROM_DEVICE = 68,
	SENSOR_MAX_TAILLESS_BODY_FROM_DEVICE = 6,
	SENSOR_IDENTIFY_MAX_BODY = 0,
	SENSOR_IDENTITY_MAX_BODY = 68,
	SENSOR_IDENTITY_NAME_MAX = 64,
	SENSOR_IDENTITY_NAME_PREFIX = 4,
	SENSOR_MEASURE_MAX_BODY = 3,
	SENSOR_READING_MAX_BODY = 4,
	SENSOR_DONE_MAX_BODY = 0,
	SENSOR_REFUSED_MAX_BODY = 6,
};

/* Bytes inside a frame. They are not terminated by a NUL. */
struct sensor_slice {
	const uint8_t *data;
	uint32_t size;
};

/* The encoded items of a list inside a frame. An item of variable size is preceded by its length;
 * `size` is the number of bytes of all items and lengths. */
struct sensor_list {
	const uint8_t *items;
	uint32_t size;
	uint32_t count;
};

static inline struct sensor_slice sensor_no_slice(void)
{
	const struct sensor_slice none = { NULL, 0 };

	return none;
}

static inline struct sensor_list sensor_no_list(void)
{
	const struct sensor_list none = { NULL, 0, 0 };

	return none;
}

struct sensor_header {
	uint32_t body_length;
	uint16_t type;
	uint16_t flags;
	uint32_t id;
};

/* The reason for which decoding failed, the offset of the error from the start of the frame, and
 * the number of the field, counted from 1, or 0 for the header. */
struct sensor_fault_at {
	enum sensor_fault fault;
	uint32_t offset;
	uint8_t field;
};

/* Answers `identify`. */
struct sensor_identity {
	/* The serial number. */
	uint32_t serial;
	/* The name of the sensor in UTF-8. */
	struct sensor_slice name;
};

/* Asks for measurements; all messages of the answer have its id. */
struct sensor_measure {
	/* The quantity to measure. */
	uint8_t channel;
	/* The number of measurements. */
	uint16_t times;
};

/* One measurement. */
struct sensor_reading {
	/* The measured value in the unit of the channel. */
	int32_t value;
};

/* Answers a frame that is refused. After a malformed frame, the device stops. */
struct sensor_refused {
	/* The reason. */
	uint16_t reason;
	/* The position of the fault, in bytes from the start of the frame. */
	uint32_t offset;
};

/* The body of any message. */
union sensor_body {
	struct sensor_identity identity;
	struct sensor_measure measure;
	struct sensor_reading reading;
	struct sensor_refused refused;
};

static inline uint64_t sensor_get(const uint8_t *from, unsigned size)
{
	uint64_t value = 0;

	for (unsigned i = 0; i < size; i++)
		value |= (uint64_t)from[i] << (8 * i);
	return value;
}

static inline uint8_t *sensor_put(uint8_t *at, unsigned size, uint64_t value)
{
	for (unsigned i = 0; i < size; i++)
		at[i] = (uint8_t)(value >> (8 * i));
	return at + size;
}

/* Copies `size` bytes to `at`, and returns the end of the copy. Does not copy if `data` is `at`, so
 * that a program can read a tail directly into its frame. */
static inline uint8_t *sensor_put_bytes(uint8_t *at, const uint8_t *data, uint32_t size)
{
	if (size > 0 && data != at)
		memmove(at, data, (size_t)size);
	return at + size;
}

static inline void sensor_put_header(uint8_t *out, const uint8_t *end, uint16_t type, uint32_t id)
{
	size_t body = (size_t)(end - out) - (size_t)SENSOR_HEADER_SIZE;

	sensor_put(out, 4, body);
	sensor_put(out + 4, 2, type);
	sensor_put(out + 6, 2, 0);
	sensor_put(out + 8, 4, id);
}

static inline bool sensor_fail(struct sensor_fault_at *at, enum sensor_fault fault, size_t offset,
	uint8_t field)
{
	at->fault = fault;
	at->offset = (uint32_t)offset;
	at->field = field;
	return false;
}

/* The state of decoding a body. The offset `at` never exceeds `size`. */
struct sensor_cursor {
	const uint8_t *body;
	size_t size;
	size_t at;
	struct sensor_fault_at *fault;
};

static inline bool sensor_refuse(const struct sensor_cursor *cursor, enum sensor_fault fault, size_t at,
	uint8_t field)
{
	return sensor_fail(cursor->fault, fault, SENSOR_HEADER_SIZE + at, field);
}

static inline bool sensor_take(struct sensor_cursor *cursor, uint8_t field, unsigned size,
	uint64_t *value)
{
	if (cursor->size - cursor->at < size)
		return sensor_refuse(cursor, SENSOR_FAULT_TRUNCATED, cursor->at, field);
	*value = sensor_get(cursor->body + cursor->at, size);
	cursor->at += size;
	return true;
}

#define SENSOR_DEFINE_TAKE(name, type, size) \
	static inline bool sensor_take_##name(struct sensor_cursor *cursor, uint8_t field, type *out) \
	{ \
		uint64_t value; \
		if (!sensor_take(cursor, field, size, &value)) \
			return false; \
		*out = (type)value; \
		return true; \
	}
SENSOR_DEFINE_TAKE(u8, uint8_t, 1)
SENSOR_DEFINE_TAKE(u16, uint16_t, 2)
SENSOR_DEFINE_TAKE(u32, uint32_t, 4)
SENSOR_DEFINE_TAKE(u64, uint64_t, 8)
SENSOR_DEFINE_TAKE(i8, int8_t, 1)
SENSOR_DEFINE_TAKE(i16, int16_t, 2)
SENSOR_DEFINE_TAKE(i32, int32_t, 4)
SENSOR_DEFINE_TAKE(i64, int64_t, 8)
SENSOR_DEFINE_TAKE(length, uint32_t, 4)
#undef SENSOR_DEFINE_TAKE

/* Reports an unknown value if `known` is false. The value is the last `size` bytes that were read.
 * Returns `known`. */
static inline bool sensor_known(const struct sensor_cursor *cursor, uint8_t field, unsigned size,
	bool known)
{
	if (!known)
		sensor_refuse(cursor, SENSOR_FAULT_UNKNOWN_VALUE, cursor->at - size, field);
	return known;
}

static inline bool sensor_take_constant(struct sensor_cursor *cursor, uint8_t field, unsigned size,
	uint64_t expected)
{
	uint64_t value;

	return sensor_take(cursor, field, size, &value) &&
		sensor_known(cursor, field, size, value == expected);
}

static inline bool sensor_no_nul(const struct sensor_cursor *cursor, uint8_t field,
	const struct sensor_slice *slice)
{
	for (uint32_t i = 0; i < slice->size; i++)
		if (slice->data[i] == 0)
			return sensor_refuse(cursor, SENSOR_FAULT_EMBEDDED_NUL,
				(size_t)(slice->data - cursor->body) + (size_t)i, field);
	return true;
}

static inline bool sensor_take_bytes(struct sensor_cursor *cursor, uint8_t field, uint32_t max,
	bool nul, struct sensor_slice *out)
{
	size_t prefix = cursor->at;

	if (!sensor_take_length(cursor, field, &out->size))
		return false;
	if (out->size > max)
		return sensor_refuse(cursor, SENSOR_FAULT_TOO_LONG, prefix, field);
	if (out->size > cursor->size - cursor->at)
		return sensor_refuse(cursor, SENSOR_FAULT_TRUNCATED, cursor->at, field);
	out->data = cursor->body + cursor->at;
	cursor->at += (size_t)out->size;
	return nul || sensor_no_nul(cursor, field, out);
}

static inline bool sensor_take_count(struct sensor_cursor *cursor, uint8_t field, uint32_t max_items,
	struct sensor_list *out)
{
	size_t prefix = cursor->at;

	if (!sensor_take_length(cursor, field, &out->count))
		return false;
	if (out->count > max_items)
		return sensor_refuse(cursor, SENSOR_FAULT_TOO_MANY, prefix, field);
	out->items = cursor->body + cursor->at;
	return true;
}

static inline bool sensor_take_list(struct sensor_cursor *cursor, uint8_t field, uint32_t max_items,
	uint32_t max_item, uint32_t max_total, bool nul, struct sensor_list *out)
{
	if (!sensor_take_count(cursor, field, max_items, out))
		return false;
	size_t start = cursor->at;
	for (uint32_t i = 0; i < out->count; i++) {
		struct sensor_slice item;
		size_t before = cursor->at;

		if (!sensor_take_bytes(cursor, field, max_item, nul, &item))
			return false;
		if (cursor->at - start > max_total)
			return sensor_refuse(cursor, SENSOR_FAULT_TOTAL_TOO_LONG, before, field);
	}
	out->size = (uint32_t)(cursor->at - start);
	return true;
}

/* Returns the item at `*at` of a decoded list, and advances `*at` to the next item. */
static inline struct sensor_slice sensor_next(const uint8_t **at)
{
	struct sensor_slice item = { *at + 4, (uint32_t)sensor_get(*at, 4) };

	*at += 4 + item.size;
	return item;
}

static inline bool sensor_take_tail(struct sensor_cursor *cursor, uint8_t field, uint32_t max,
	struct sensor_slice *out)
{
	size_t left = cursor->size - cursor->at;

	if (left > max)
		return sensor_refuse(cursor, SENSOR_FAULT_TOO_LONG, cursor->at, field);
	out->data = cursor->body + cursor->at;
	out->size = (uint32_t)left;
	cursor->at = cursor->size;
	return true;
}

static inline bool sensor_end(const struct sensor_cursor *cursor)
{
	if (cursor->at != cursor->size)
		sensor_refuse(cursor, SENSOR_FAULT_TRAILING_BYTES, cursor->at, 0);
	return cursor->at == cursor->size;
}

static inline bool sensor_known_channel(uint8_t value, uint32_t version)
{
	(void)version;
	return value == SENSOR_CHANNEL_TEMPERATURE ||
		value == SENSOR_CHANNEL_HUMIDITY;
}

/* A rule for the header of a message. It applies to all versions from `since` on, up to
 * the next rule for the same type. */
struct sensor_rule {
	uint16_t type;
	uint8_t sender;
	uint8_t id; /* 0: must be zero, 1: must not be zero, 2: any */
	uint32_t since;
	uint32_t max_body;
};

static const struct sensor_rule sensor_rules[] = {
	{ SENSOR_TYPE_IDENTIFY, SENSOR_READER, 0, 1, 0 },
	{ SENSOR_TYPE_IDENTITY, SENSOR_DEVICE, 0, 1, 68 },
	{ SENSOR_TYPE_MEASURE, SENSOR_READER, 1, 1, 3 },
	{ SENSOR_TYPE_READING, SENSOR_DEVICE, 1, 1, 4 },
	{ SENSOR_TYPE_DONE, SENSOR_DEVICE, 1, 1, 0 },
	{ SENSOR_TYPE_REFUSED, SENSOR_DEVICE, 2, 1, 6 },
	{ 0, 0, 0, 0, 0 },
};

/* Returns the newest rule for a type that applies to `version`, or NULL if there is none. */
static inline const struct sensor_rule *sensor_find_rule(uint32_t version, uint16_t type)
{
	const struct sensor_rule *found = NULL;

	for (const struct sensor_rule *rule = sensor_rules; rule->type; rule++)
		if (rule->type == type && rule->since <= version)
			found = rule;
	return found;
}

/* Reads the header of a frame from `sender`, and checks everything that needs no body.
 * `version`, here and below, is the version that both sides agreed on. */
static inline bool sensor_decode_header(const uint8_t *frame, enum sensor_end sender, uint32_t version,
	struct sensor_header *header, struct sensor_fault_at *fault)
{
	header->body_length = (uint32_t)sensor_get(frame, 4);
	header->type = (uint16_t)sensor_get(frame + 4, 2);
	header->flags = (uint16_t)sensor_get(frame + 6, 2);
	header->id = (uint32_t)sensor_get(frame + 8, 4);
	const struct sensor_rule *rule = sensor_find_rule(version, header->type);
	if (!rule)
		return sensor_fail(fault, SENSOR_FAULT_UNKNOWN_TYPE, 4, 0);
	if (!(rule->sender & sender))
		return sensor_fail(fault, SENSOR_FAULT_BAD_DIRECTION, 4, 0);
	if (header->flags)
		return sensor_fail(fault, SENSOR_FAULT_RESERVED_FLAGS, 6, 0);
	if ((rule->id == 1 && header->id == 0) || (rule->id == 0 && header->id != 0))
		return sensor_fail(fault, SENSOR_FAULT_BAD_ID, 8, 0);
	if (header->body_length > rule->max_body)
		return sensor_fail(fault, SENSOR_FAULT_BODY_TOO_LONG, 0, 0);
	return true;
}

static inline bool sensor_decode_identify(const uint8_t *body, size_t size,
	uint32_t version, struct sensor_fault_at *fault)
{
	struct sensor_cursor cursor = { body, size, 0, fault };

	(void)version;
	return sensor_end(&cursor);
}

static inline bool sensor_decode_identity(const uint8_t *body, size_t size,
	uint32_t version, struct sensor_identity *message, struct sensor_fault_at *fault)
{
	struct sensor_cursor cursor = { body, size, 0, fault };

	(void)version;
	return sensor_take_u32(&cursor, 1, &message->serial) &&
		sensor_take_tail(&cursor, 2, 64, &message->name);
}

static inline bool sensor_decode_measure(const uint8_t *body, size_t size,
	uint32_t version, struct sensor_measure *message, struct sensor_fault_at *fault)
{
	struct sensor_cursor cursor = { body, size, 0, fault };

	return sensor_take_u8(&cursor, 1, &message->channel) &&
		sensor_known(&cursor, 1, 1, sensor_known_channel(message->channel, version)) &&
		sensor_take_u16(&cursor, 2, &message->times) &&
		sensor_end(&cursor);
}

static inline bool sensor_decode_reading(const uint8_t *body, size_t size,
	uint32_t version, struct sensor_reading *message, struct sensor_fault_at *fault)
{
	struct sensor_cursor cursor = { body, size, 0, fault };

	(void)version;
	return sensor_take_i32(&cursor, 1, &message->value) &&
		sensor_end(&cursor);
}

static inline bool sensor_decode_done(const uint8_t *body, size_t size,
	uint32_t version, struct sensor_fault_at *fault)
{
	struct sensor_cursor cursor = { body, size, 0, fault };

	(void)version;
	return sensor_end(&cursor);
}

static inline bool sensor_decode_refused(const uint8_t *body, size_t size,
	uint32_t version, struct sensor_refused *message, struct sensor_fault_at *fault)
{
	struct sensor_cursor cursor = { body, size, 0, fault };

	(void)version;
	return sensor_take_u16(&cursor, 1, &message->reason) &&
		sensor_take_u32(&cursor, 2, &message->offset) &&
		sensor_end(&cursor);
}

/* Decodes the body of a frame whose header sensor_decode_header has accepted. */
static inline bool sensor_decode_body(const struct sensor_header *header, const uint8_t *body,
	uint32_t version, union sensor_body *out, struct sensor_fault_at *fault)
{
	(void)version;
	(void)out;
	switch (header->type) {
	case SENSOR_TYPE_IDENTIFY:
		return sensor_decode_identify(body, (size_t)header->body_length, version, fault);
	case SENSOR_TYPE_IDENTITY:
		return sensor_decode_identity(body, (size_t)header->body_length, version, &out->identity, fault);
	case SENSOR_TYPE_MEASURE:
		return sensor_decode_measure(body, (size_t)header->body_length, version, &out->measure, fault);
	case SENSOR_TYPE_READING:
		return sensor_decode_reading(body, (size_t)header->body_length, version, &out->reading, fault);
	case SENSOR_TYPE_DONE:
		return sensor_decode_done(body, (size_t)header->body_length, version, fault);
	case SENSOR_TYPE_REFUSED:
		return sensor_decode_refused(body, (size_t)header->body_length, version, &out->refused, fault);
	default:
		(void)body;
		return sensor_fail(fault, SENSOR_FAULT_UNKNOWN_TYPE, 4, 0);
	}
}

/* Returns the fault of bytes that must not contain NUL, or FAULT_NONE. */
static inline enum sensor_fault sensor_check_bytes(const struct sensor_slice *bytes, uint32_t max)
{
	struct sensor_fault_at at = { SENSOR_FAULT_NONE, 0, 0 };
	const struct sensor_cursor cursor = { bytes->data, (size_t)bytes->size, 0, &at };

	if (bytes->size > max)
		return SENSOR_FAULT_TOO_LONG;
	sensor_no_nul(&cursor, 0, bytes);
	return at.fault;
}

/* Checks a list, in which a length precedes each item. Returns its fault, or FAULT_NONE. */
static inline enum sensor_fault sensor_check_list(const struct sensor_list *list, uint32_t max_items,
	uint32_t max_item, uint32_t max_total, bool nul)
{
	struct sensor_fault_at at = { SENSOR_FAULT_NONE, 0, 0 };
	struct sensor_cursor cursor = { list->items, (size_t)list->size, 0, &at };
	struct sensor_slice item;

	if (list->count > max_items)
		return SENSOR_FAULT_TOO_MANY;
	for (uint32_t i = 0; i < list->count; i++) {
		if (!sensor_take_bytes(&cursor, 0, max_item, nul, &item))
			return at.fault;
		if (cursor.at > max_total)
			return SENSOR_FAULT_TOTAL_TOO_LONG;
	}
	sensor_end(&cursor);
	return at.fault;
}

/* Returns SENSOR_FAULT_NONE if the message is valid, or else the fault that a decoder would find
 * in its frame. */
static inline enum sensor_fault sensor_check_identify(uint32_t version)
{
	(void)version;
	return SENSOR_FAULT_NONE;
}

/* Writes a frame into `out`, a buffer of `room` bytes. Returns the size of the frame, or 0 if
 * sensor_check_identify finds a fault or the frame does not fit. */
static inline size_t sensor_encode_identify(uint8_t *out, size_t room, uint32_t version)
{
	uint32_t size = SENSOR_HEADER_SIZE;

	if (sensor_check_identify(version))
		return 0;
	if (size > room)
		return 0;
	uint8_t *at = out + SENSOR_HEADER_SIZE;
	sensor_put_header(out, at, SENSOR_TYPE_IDENTIFY, 0);
	return (size_t)(at - out);
}

/* Returns SENSOR_FAULT_NONE if the message is valid, or else the fault that a decoder would find
 * in its frame. */
static inline enum sensor_fault sensor_check_identity(uint32_t version,
	const struct sensor_identity *message)
{
	(void)version;
	if (message->name.size > 64)
		return SENSOR_FAULT_TOO_LONG;
	return SENSOR_FAULT_NONE;
}

/* Writes a frame into `out`, a buffer of `room` bytes. Returns the size of the frame, or 0 if
 * sensor_check_identity finds a fault or the frame does not fit. */
static inline size_t sensor_encode_identity(uint8_t *out, size_t room, uint32_t version,
	const struct sensor_identity *message)
{
	uint32_t size = SENSOR_HEADER_SIZE;

	if (sensor_check_identity(version, message))
		return 0;
	size += 4 + message->name.size;
	if (size > room)
		return 0;
	uint8_t *at = out + SENSOR_HEADER_SIZE;
	at = sensor_put(at, 4, (uint64_t)message->serial);
	at = sensor_put_bytes(at, message->name.data, message->name.size);
	sensor_put_header(out, at, SENSOR_TYPE_IDENTITY, 0);
	return (size_t)(at - out);
}

/* Returns SENSOR_FAULT_NONE if the message is valid, or else the fault that a decoder would find
 * in its frame. */
static inline enum sensor_fault sensor_check_measure(uint32_t version, uint32_t id,
	const struct sensor_measure *message)
{
	if (id == 0)
		return SENSOR_FAULT_BAD_ID;
	if (!sensor_known_channel(message->channel, version))
		return SENSOR_FAULT_UNKNOWN_VALUE;
	return SENSOR_FAULT_NONE;
}

/* Writes a frame into `out`, a buffer of `room` bytes. Returns the size of the frame, or 0 if
 * sensor_check_measure finds a fault or the frame does not fit. */
static inline size_t sensor_encode_measure(uint8_t *out, size_t room, uint32_t version,
	uint32_t id, const struct sensor_measure *message)
{
	uint32_t size = SENSOR_HEADER_SIZE;

	if (sensor_check_measure(version, id, message))
		return 0;
	size += 3;
	if (size > room)
		return 0;
	uint8_t *at = out + SENSOR_HEADER_SIZE;
	at = sensor_put(at, 1, (uint64_t)message->channel);
	at = sensor_put(at, 2, (uint64_t)message->times);
	sensor_put_header(out, at, SENSOR_TYPE_MEASURE, id);
	return (size_t)(at - out);
}

/* Returns SENSOR_FAULT_NONE if the message is valid, or else the fault that a decoder would find
 * in its frame. */
static inline enum sensor_fault sensor_check_reading(uint32_t version, uint32_t id,
	const struct sensor_reading *message)
{
	(void)version;
	(void)message;
	if (id == 0)
		return SENSOR_FAULT_BAD_ID;
	return SENSOR_FAULT_NONE;
}

/* Writes a frame into `out`, a buffer of `room` bytes. Returns the size of the frame, or 0 if
 * sensor_check_reading finds a fault or the frame does not fit. */
static inline size_t sensor_encode_reading(uint8_t *out, size_t room, uint32_t version,
	uint32_t id, const struct sensor_reading *message)
{
	uint32_t size = SENSOR_HEADER_SIZE;

	if (sensor_check_reading(version, id, message))
		return 0;
	size += 4;
	if (size > room)
		return 0;
	uint8_t *at = out + SENSOR_HEADER_SIZE;
	at = sensor_put(at, 4, (uint64_t)message->value);
	sensor_put_header(out, at, SENSOR_TYPE_READING, id);
	return (size_t)(at - out);
}

/* Returns SENSOR_FAULT_NONE if the message is valid, or else the fault that a decoder would find
 * in its frame. */
static inline enum sensor_fault sensor_check_done(uint32_t version, uint32_t id)
{
	(void)version;
	if (id == 0)
		return SENSOR_FAULT_BAD_ID;
	return SENSOR_FAULT_NONE;
}

/* Writes a frame into `out`, a buffer of `room` bytes. Returns the size of the frame, or 0 if
 * sensor_check_done finds a fault or the frame does not fit. */
static inline size_t sensor_encode_done(uint8_t *out, size_t room, uint32_t version,
	uint32_t id)
{
	uint32_t size = SENSOR_HEADER_SIZE;

	if (sensor_check_done(version, id))
		return 0;
	if (size > room)
		return 0;
	uint8_t *at = out + SENSOR_HEADER_SIZE;
	sensor_put_header(out, at, SENSOR_TYPE_DONE, id);
	return (size_t)(at - out);
}

/* Returns SENSOR_FAULT_NONE if the message is valid, or else the fault that a decoder would find
 * in its frame. */
static inline enum sensor_fault sensor_check_refused(uint32_t version, uint32_t id,
	const struct sensor_refused *message)
{
	(void)version;
	(void)id;
	(void)message;
	return SENSOR_FAULT_NONE;
}

/* Writes a frame into `out`, a buffer of `room` bytes. Returns the size of the frame, or 0 if
 * sensor_check_refused finds a fault or the frame does not fit. */
static inline size_t sensor_encode_refused(uint8_t *out, size_t room, uint32_t version,
	uint32_t id, const struct sensor_refused *message)
{
	uint32_t size = SENSOR_HEADER_SIZE;

	if (sensor_check_refused(version, id, message))
		return 0;
	size += 6;
	if (size > room)
		return 0;
	uint8_t *at = out + SENSOR_HEADER_SIZE;
	at = sensor_put(at, 2, (uint64_t)message->reason);
	at = sensor_put(at, 4, (uint64_t)message->offset);
	sensor_put_header(out, at, SENSOR_TYPE_REFUSED, id);
	return (size_t)(at - out);
}

#endif

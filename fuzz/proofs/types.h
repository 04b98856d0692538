/* The wire protocol of types, version 2. Generated from types.toml by `microvm-proto gen`. C99
 * and C++11, or later; of libraries it needs string.h. Nothing in it allocates or keeps state.
 * Every value that is decoded has been checked against its bounds, and slices point into the
 * frame. */
#ifndef TYPES_PROTOCOL_H
#define TYPES_PROTOCOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define TYPES_VERSION 2u
#define TYPES_SCHEMA_DIGEST 0x766922246e82cb71ULL

/* The two ends; a message's sender is one of them, or both. */
enum types_end {
	TYPES_LEFT = 1,
	TYPES_RIGHT = 2,
	TYPES_BOTH = 3,
};

/* The faults of a malformed frame; 0 stands for none. */
enum types_fault {
	TYPES_FAULT_NONE = 0,
	/* No message has this type. */
	TYPES_FAULT_UNKNOWN_TYPE = 1,
	/* The other side sends this message. */
	TYPES_FAULT_BAD_DIRECTION = 2,
	/* The header's flags are not 0. */
	TYPES_FAULT_RESERVED_FLAGS = 3,
	/* The id is 0 where one is needed, or not 0 where none is. */
	TYPES_FAULT_BAD_ID = 4,
	/* The body is longer than any body of this type. */
	TYPES_FAULT_BODY_TOO_LONG = 5,
	/* A field, or its length, ends beyond the body. */
	TYPES_FAULT_TRUNCATED = 6,
	/* A variable-length value is above its bound. */
	TYPES_FAULT_TOO_LONG = 7,
	/* A list has more items than its bound. */
	TYPES_FAULT_TOO_MANY = 8,
	/* A list's items, with their prefixes, are longer than its bound. */
	TYPES_FAULT_TOTAL_TOO_LONG = 9,
	/* A value that its field cannot have. */
	TYPES_FAULT_UNKNOWN_VALUE = 10,
	/* A NUL byte where none may be. */
	TYPES_FAULT_EMBEDDED_NUL = 11,
	/* The body goes on after its last field. */
	TYPES_FAULT_TRAILING_BYTES = 12,
	/* Text that is not UTF-8. */
	TYPES_FAULT_NOT_UTF8 = 13,
	/* A NaN or an infinity where none may be. */
	TYPES_FAULT_NOT_FINITE = 14,
	/* The check is not that of the frame. */
	TYPES_FAULT_BAD_CHECK = 15,
	/* The bytes between two delimiters are not a stuffed frame. */
	TYPES_FAULT_BAD_STUFFING = 16,
};

/* The messages. */
enum types_type {
	TYPES_TYPE_FIXED = 1,
	TYPES_TYPE_VARIABLE = 2,
};

/* The name of a fault; "unknown" for any other number. */
static inline const char *types_fault_name(enum types_fault fault)
{
	switch (fault) {
	case TYPES_FAULT_NONE:
		return "none";
	case TYPES_FAULT_UNKNOWN_TYPE:
		return "unknown_type";
	case TYPES_FAULT_BAD_DIRECTION:
		return "bad_direction";
	case TYPES_FAULT_RESERVED_FLAGS:
		return "reserved_flags";
	case TYPES_FAULT_BAD_ID:
		return "bad_id";
	case TYPES_FAULT_BODY_TOO_LONG:
		return "body_too_long";
	case TYPES_FAULT_TRUNCATED:
		return "truncated";
	case TYPES_FAULT_TOO_LONG:
		return "too_long";
	case TYPES_FAULT_TOO_MANY:
		return "too_many";
	case TYPES_FAULT_TOTAL_TOO_LONG:
		return "total_too_long";
	case TYPES_FAULT_UNKNOWN_VALUE:
		return "unknown_value";
	case TYPES_FAULT_EMBEDDED_NUL:
		return "embedded_nul";
	case TYPES_FAULT_TRAILING_BYTES:
		return "trailing_bytes";
	case TYPES_FAULT_NOT_UTF8:
		return "not_utf8";
	case TYPES_FAULT_NOT_FINITE:
		return "not_finite";
	case TYPES_FAULT_BAD_CHECK:
		return "bad_check";
	case TYPES_FAULT_BAD_STUFFING:
		return "bad_stuffing";
	}
	return "unknown";
}

/* The name of a message; "unknown" for any other number. */
static inline const char *types_message_name(uint16_t type)
{
	switch (type) {
	case TYPES_TYPE_FIXED:
		return "fixed";
	case TYPES_TYPE_VARIABLE:
		return "variable";
	}
	return "unknown";
}

enum types_access {
	TYPES_ACCESS_READ = 1,
	TYPES_ACCESS_WRITE = 128,
};

/* Sizes in bytes; list bounds count the items. TAILLESS is about messages without a tail, which
 * are small as a rule. */
enum {
	TYPES_HEADER_SIZE = 12,
	TYPES_MAX_BODY = 32,
	TYPES_MAX_BODY_FROM_LEFT = 32,
	TYPES_MAX_TAILLESS_BODY_FROM_LEFT = 32,
	TYPES_MAX_BODY_FROM_RIGHT = 32,
	TYPES_MAX_TAILLESS_BODY_FROM_RIGHT = 32,
	TYPES_POINT_SIZE = 5,
	TYPES_READING_SIZE = 11,
	TYPES_READING_POINTS_COUNT = 2,
	TYPES_FIXED_MAX_BODY = 32,
	TYPES_FIXED_OCTETS_COUNT = 3,
	TYPES_FIXED_LEVEL_ABSENT = -1,
	TYPES_FIXED_SAMPLES_COUNT = 2,
	TYPES_VARIABLE_MAX_BODY = 23,
	TYPES_VARIABLE_TITLE_MAX = 6,
	TYPES_VARIABLE_POINTS_MAX_ITEMS = 2,
	TYPES_VARIABLE_SAMPLES_MAX_ITEMS = 2,
};

/* Bytes inside a frame; not terminated. */
struct types_slice {
	const uint8_t *data;
	uint32_t size;
};

/* A list inside a frame: its items as they are there, those of bytes each behind its length; `size`
 * is all of that. */
struct types_list {
	const uint8_t *items;
	uint32_t size;
	uint32_t count;
};

static inline struct types_slice types_no_slice(void)
{
	const struct types_slice none = { NULL, 0 };

	return none;
}

static inline struct types_list types_no_list(void)
{
	const struct types_list none = { NULL, 0, 0 };

	return none;
}

struct types_header {
	uint32_t body_length;
	uint16_t type;
	uint16_t flags;
	uint32_t id;
};

/* Where and why decoding failed: the offset from the start of the frame; the field counted from
 * 1, or 0 for the header. */
struct types_fault_at {
	enum types_fault fault;
	uint32_t offset;
	uint8_t field;
};

struct types_point {
	float x;
	uint8_t access;
};

struct types_reading {
	struct types_point points[2];
	bool valid;
};

struct types_fixed {
	double real;
	uint8_t octets[3];
	int16_t level;
	int32_t samples[2];
	struct types_reading reading;
};

struct types_variable {
	struct types_slice title;
	struct types_list points;
	struct types_list samples;
};

/* The body of any message. */
union types_body {
	struct types_fixed fixed;
	struct types_variable variable;
};

static inline uint64_t types_get(const uint8_t *from, unsigned size)
{
	uint64_t value = 0;

	for (unsigned i = 0; i < size; i++)
		value |= (uint64_t)from[i] << (8 * i);
	return value;
}

static inline uint8_t *types_put(uint8_t *at, unsigned size, uint64_t value)
{
	for (unsigned i = 0; i < size; i++)
		at[i] = (uint8_t)(value >> (8 * i));
	return at + size;
}

/* Data that is in place already is not moved: a tail can be read straight into its frame. */
static inline uint8_t *types_put_bytes(uint8_t *at, const uint8_t *data, uint32_t size)
{
	if (size > 0 && data != at)
		memmove(at, data, size);
	return at + size;
}

static inline void types_put_header(uint8_t *out, const uint8_t *end, uint16_t type, uint32_t id)
{
	size_t body = (size_t)(end - out) - TYPES_HEADER_SIZE;

	types_put(out, 4, body);
	types_put(out + 4, 2, type);
	types_put(out + 6, 2, 0);
	types_put(out + 8, 4, id);
}

static inline bool types_fail(struct types_fault_at *at, enum types_fault fault, size_t offset,
	uint8_t field)
{
	at->fault = fault;
	at->offset = (uint32_t)offset;
	at->field = field;
	return false;
}

/* A body that is being decoded: `at` is never beyond `size`. */
struct types_cursor {
	const uint8_t *body;
	size_t size;
	size_t at;
	struct types_fault_at *fault;
};

static inline bool types_refuse(const struct types_cursor *cursor, enum types_fault fault, size_t at,
	uint8_t field)
{
	return types_fail(cursor->fault, fault, TYPES_HEADER_SIZE + at, field);
}

static inline bool types_take(struct types_cursor *cursor, uint8_t field, unsigned size,
	uint64_t *value)
{
	if (cursor->size - cursor->at < size)
		return types_refuse(cursor, TYPES_FAULT_TRUNCATED, cursor->at, field);
	*value = types_get(cursor->body + cursor->at, size);
	cursor->at += size;
	return true;
}

#define TYPES_DEFINE_TAKE(name, type, size) \
	static inline bool types_take_##name(struct types_cursor *cursor, uint8_t field, type *out) \
	{ \
		uint64_t value; \
		if (!types_take(cursor, field, size, &value)) \
			return false; \
		*out = (type)value; \
		return true; \
	}
TYPES_DEFINE_TAKE(u8, uint8_t, 1)
TYPES_DEFINE_TAKE(u16, uint16_t, 2)
TYPES_DEFINE_TAKE(u32, uint32_t, 4)
TYPES_DEFINE_TAKE(u64, uint64_t, 8)
TYPES_DEFINE_TAKE(i8, int8_t, 1)
TYPES_DEFINE_TAKE(i16, int16_t, 2)
TYPES_DEFINE_TAKE(i32, int32_t, 4)
TYPES_DEFINE_TAKE(i64, int64_t, 8)
TYPES_DEFINE_TAKE(length, uint32_t, 1)
#undef TYPES_DEFINE_TAKE

/* What was just taken, `size` bytes of it, must be a known value. */
static inline bool types_known(const struct types_cursor *cursor, uint8_t field, unsigned size,
	bool known)
{
	if (!known)
		types_refuse(cursor, TYPES_FAULT_UNKNOWN_VALUE, cursor->at - size, field);
	return known;
}

static inline bool types_take_constant(struct types_cursor *cursor, uint8_t field, unsigned size,
	uint64_t expected)
{
	uint64_t value;

	return types_take(cursor, field, size, &value) &&
		types_known(cursor, field, size, value == expected);
}

static inline bool types_no_nul(const struct types_cursor *cursor, uint8_t field,
	const struct types_slice *slice)
{
	for (uint32_t i = 0; i < slice->size; i++)
		if (slice->data[i] == 0)
			return types_refuse(cursor, TYPES_FAULT_EMBEDDED_NUL,
				(size_t)(slice->data - cursor->body) + i, field);
	return true;
}

static inline bool types_take_bytes(struct types_cursor *cursor, uint8_t field, uint32_t max,
	bool nul, struct types_slice *out)
{
	size_t prefix = cursor->at;

	if (!types_take_length(cursor, field, &out->size))
		return false;
	if (out->size > max)
		return types_refuse(cursor, TYPES_FAULT_TOO_LONG, prefix, field);
	if (out->size > cursor->size - cursor->at)
		return types_refuse(cursor, TYPES_FAULT_TRUNCATED, cursor->at, field);
	out->data = cursor->body + cursor->at;
	cursor->at += out->size;
	return nul || types_no_nul(cursor, field, out);
}

static inline bool types_take_count(struct types_cursor *cursor, uint8_t field, uint32_t max_items,
	struct types_list *out)
{
	size_t prefix = cursor->at;

	if (!types_take_length(cursor, field, &out->count))
		return false;
	if (out->count > max_items)
		return types_refuse(cursor, TYPES_FAULT_TOO_MANY, prefix, field);
	out->items = cursor->body + cursor->at;
	return true;
}

static inline bool types_take_list(struct types_cursor *cursor, uint8_t field, uint32_t max_items,
	uint32_t max_item, uint32_t max_total, bool nul, struct types_list *out)
{
	if (!types_take_count(cursor, field, max_items, out))
		return false;
	size_t start = cursor->at;
	for (uint32_t i = 0; i < out->count; i++) {
		struct types_slice item;
		size_t before = cursor->at;

		if (!types_take_bytes(cursor, field, max_item, nul, &item))
			return false;
		if (cursor->at - start > max_total)
			return types_refuse(cursor, TYPES_FAULT_TOTAL_TOO_LONG, before, field);
	}
	out->size = (uint32_t)(cursor->at - start);
	return true;
}

/* Steps through a list that has been decoded: returns the item at `*at` and moves on. */
static inline struct types_slice types_next(const uint8_t **at)
{
	struct types_slice item = { *at + 1, (uint32_t)types_get(*at, 1) };

	*at += 1 + item.size;
	return item;
}

static inline bool types_take_tail(struct types_cursor *cursor, uint8_t field, uint32_t max,
	struct types_slice *out)
{
	size_t left = cursor->size - cursor->at;

	if (left > max)
		return types_refuse(cursor, TYPES_FAULT_TOO_LONG, cursor->at, field);
	out->data = cursor->body + cursor->at;
	out->size = (uint32_t)left;
	cursor->at = cursor->size;
	return true;
}

static inline bool types_end(const struct types_cursor *cursor)
{
	if (cursor->at != cursor->size)
		types_refuse(cursor, TYPES_FAULT_TRAILING_BYTES, cursor->at, 0);
	return cursor->at == cursor->size;
}

static inline bool types_take_bool(struct types_cursor *cursor, uint8_t field, bool *out)
{
	uint8_t byte;

	if (!types_take_u8(cursor, field, &byte))
		return false;
	*out = byte != 0;
	return types_known(cursor, field, 1, byte <= 1);
}

static inline bool types_take_octets(struct types_cursor *cursor, uint8_t field, uint32_t count,
	uint8_t *out)
{
	if (count > cursor->size - cursor->at)
		return types_refuse(cursor, TYPES_FAULT_TRUNCATED, cursor->at, field);
	memcpy(out, cursor->body + cursor->at, count);
	cursor->at += count;
	return true;
}

/* What was just taken, `size` bytes of it, must be a number. */
static inline bool types_finite(const struct types_cursor *cursor, uint8_t field, unsigned size,
	bool finite)
{
	if (!finite)
		types_refuse(cursor, TYPES_FAULT_NOT_FINITE, cursor->at - size, field);
	return finite;
}

typedef char types_size_of_f32[sizeof(float) == 4 ? 1 : -1];

static inline uint32_t types_bits_of_f32(const float *value)
{
	uint32_t bits;

	memcpy(&bits, value, sizeof bits);
	return bits;
}

static inline bool types_is_finite_f32(const float *value)
{
	return (types_bits_of_f32(value) & 0x7f800000u) != 0x7f800000u;
}

static inline void types_set_f32(float *out, uint32_t bits)
{
	memcpy(out, &bits, sizeof bits);
}

static inline bool types_take_f32(struct types_cursor *cursor, uint8_t field, float *out)
{
	uint32_t bits;

	if (!types_take_u32(cursor, field, &bits))
		return false;
	types_set_f32(out, bits);
	return true;
}

typedef char types_size_of_f64[sizeof(double) == 8 ? 1 : -1];

static inline uint64_t types_bits_of_f64(const double *value)
{
	uint64_t bits;

	memcpy(&bits, value, sizeof bits);
	return bits;
}

static inline bool types_is_finite_f64(const double *value)
{
	return (types_bits_of_f64(value) & 0x7ff0000000000000u) != 0x7ff0000000000000u;
}

static inline void types_set_f64(double *out, uint64_t bits)
{
	memcpy(out, &bits, sizeof bits);
}

static inline bool types_take_f64(struct types_cursor *cursor, uint8_t field, double *out)
{
	uint64_t bits;

	if (!types_take_u64(cursor, field, &bits))
		return false;
	types_set_f64(out, bits);
	return true;
}

/* The size of the sequence of UTF-8 (RFC 3629) at the start of `left` bytes; 0 when it is none. */
static inline uint32_t types_utf8(const uint8_t *at, uint32_t left)
{
	uint8_t low = at[0] == 0xe0 ? 0xa0 : at[0] == 0xf0 ? 0x90 : 0x80;
	uint8_t high = at[0] == 0xed ? 0x9f : at[0] == 0xf4 ? 0x8f : 0xbf;
	uint32_t size = at[0] < 0xe0 ? 2 : at[0] < 0xf0 ? 3 : 4;

	if (at[0] < 0x80)
		return 1;
	if (at[0] < 0xc2 || at[0] > 0xf4 || size > left || at[1] < low || at[1] > high)
		return 0;
	for (uint32_t i = 2; i < size; i++)
		if ((at[i] & 0xc0) != 0x80)
			return 0;
	return size;
}

static inline bool types_is_text(const struct types_cursor *cursor, uint8_t field,
	const struct types_slice *slice)
{
	for (uint32_t at = 0; at < slice->size;) {
		uint32_t size = types_utf8(slice->data + at, slice->size - at);

		if (size == 0)
			return types_refuse(cursor, TYPES_FAULT_NOT_UTF8,
				(size_t)(slice->data - cursor->body) + at, field);
		at += size;
	}
	return true;
}

static inline bool types_take_text(struct types_cursor *cursor, uint8_t field, uint32_t max,
	bool nul, struct types_slice *out)
{
	return types_take_bytes(cursor, field, max, nul, out) && types_is_text(cursor, field, out);
}

/* What is wrong with text. */
static inline enum types_fault types_check_text(const struct types_slice *text, uint32_t max, bool nul)
{
	struct types_fault_at at = { TYPES_FAULT_NONE, 0, 0 };
	const struct types_cursor cursor = { text->data, text->size, 0, &at };

	if (text->size > max)
		return TYPES_FAULT_TOO_LONG;
	if (nul || types_no_nul(&cursor, 0, text))
		types_is_text(&cursor, 0, text);
	return at.fault;
}

static inline bool types_known_access(uint8_t value, uint32_t version)
{
	uint64_t known = 0;

	known |= TYPES_ACCESS_READ;
	if (version >= 2)
		known |= TYPES_ACCESS_WRITE;
	return (value & ~known) == 0;
}

static inline bool types_take_each_i32(struct types_cursor *cursor, uint8_t field,
	uint32_t version, uint32_t count, int32_t *value)
{
	for (; count > 0; count--, value++)
		if (!(types_take_i32(cursor, field, value)))
			return false;
	(void)version;
	return true;
}

static inline bool types_take_each_point(struct types_cursor *cursor, uint8_t field,
	uint32_t version, uint32_t count, struct types_point *value)
{
	for (; count > 0; count--, value++)
		if (!(types_take_f32(cursor, field, &value->x) &&
		types_finite(cursor, field, 4, types_is_finite_f32(&value->x)) &&
		types_take_u8(cursor, field, &value->access) &&
		types_known(cursor, field, 1, types_known_access(value->access, version))))
			return false;
	return true;
}

static inline enum types_fault types_fault_in_point(uint32_t version, uint32_t count,
	const struct types_point *value)
{
	for (; count > 0; count--, value++) {
		if (!types_is_finite_f32(&value->x))
			return TYPES_FAULT_NOT_FINITE;
		if (!types_known_access(value->access, version))
			return TYPES_FAULT_UNKNOWN_VALUE;
	}
	return TYPES_FAULT_NONE;
}

static inline bool types_take_each_reading(struct types_cursor *cursor, uint8_t field,
	uint32_t version, uint32_t count, struct types_reading *value)
{
	for (; count > 0; count--, value++)
		if (!(types_take_each_point(cursor, field, version, 2, value->points) &&
		types_take_bool(cursor, field, &value->valid)))
			return false;
	return true;
}

static inline enum types_fault types_fault_in_reading(uint32_t version, uint32_t count,
	const struct types_reading *value)
{
	enum types_fault fault;

	for (; count > 0; count--, value++) {
		fault = types_fault_in_point(version, 2, value->points);
		if (fault)
			return fault;
	}
	return TYPES_FAULT_NONE;
}

static inline uint8_t *types_put_each_i32(uint8_t *at, uint32_t count,
	const int32_t *value)
{
	for (; count > 0; count--, value++) {
		at = types_put(at, 4, (uint64_t)*value);
	}
	return at;
}

static inline uint8_t *types_put_each_point(uint8_t *at, uint32_t count,
	const struct types_point *value)
{
	for (; count > 0; count--, value++) {
		at = types_put(at, 4, types_bits_of_f32(&value->x));
		at = types_put(at, 1, (uint64_t)value->access);
	}
	return at;
}

static inline uint8_t *types_put_each_reading(uint8_t *at, uint32_t count,
	const struct types_reading *value)
{
	for (; count > 0; count--, value++) {
		at = types_put_each_point(at, 2, value->points);
		at = types_put(at, 1, value->valid ? 1 : 0);
	}
	return at;
}

static inline bool types_nonzero_u8(uint32_t count, const uint8_t *value)
{
	for (; count > 0; count--, value++) {
		if (*value != 0)
			return true;
	}
	return false;
}

static inline bool types_nonzero_i32(uint32_t count, const int32_t *value)
{
	for (; count > 0; count--, value++) {
		if (*value != 0)
			return true;
	}
	return false;
}

static inline bool types_nonzero_point(uint32_t count, const struct types_point *value)
{
	for (; count > 0; count--, value++) {
		if (types_bits_of_f32(&value->x) != 0 ||
			value->access != 0)
			return true;
	}
	return false;
}

static inline bool types_nonzero_reading(uint32_t count, const struct types_reading *value)
{
	for (; count > 0; count--, value++) {
		if (types_nonzero_point(2, value->points) ||
			value->valid)
			return true;
	}
	return false;
}

static inline bool types_take_items_point(struct types_cursor *cursor, uint8_t field,
	uint32_t version, struct types_list *list)
{
	size_t start = cursor->at;
	struct types_point item;

	for (uint32_t i = 0; i < list->count; i++)
		if (!(types_take_each_point(cursor, field, version, 1, &item)))
			return false;
	list->size = (uint32_t)(cursor->at - start);
	return true;
}

/* What is wrong with a list, whose items are as they stand in a frame. */
static inline enum types_fault types_fault_of_items_point(uint32_t version,
	const struct types_list *list, uint32_t max_items)
{
	struct types_fault_at at = { TYPES_FAULT_NONE, 0, 0 };
	struct types_cursor cursor = { list->items, list->size, 0, &at };
	struct types_list items = *list;

	if (list->count > max_items)
		return TYPES_FAULT_TOO_MANY;
	if (types_take_items_point(&cursor, 0, version, &items))
		types_end(&cursor);
	return at.fault;
}

static inline bool types_take_items_u16(struct types_cursor *cursor, uint8_t field,
	uint32_t version, struct types_list *list)
{
	size_t start = cursor->at;
	uint16_t item;

	for (uint32_t i = 0; i < list->count; i++)
		if (!(types_take_u16(cursor, field, &item)))
			return false;
	list->size = (uint32_t)(cursor->at - start);
	(void)version;
	return true;
}

/* What is wrong with a list, whose items are as they stand in a frame. */
static inline enum types_fault types_fault_of_items_u16(uint32_t version,
	const struct types_list *list, uint32_t max_items)
{
	struct types_fault_at at = { TYPES_FAULT_NONE, 0, 0 };
	struct types_cursor cursor = { list->items, list->size, 0, &at };
	struct types_list items = *list;

	if (list->count > max_items)
		return TYPES_FAULT_TOO_MANY;
	if (types_take_items_u16(&cursor, 0, version, &items))
		types_end(&cursor);
	return at.fault;
}

/* Steps through a list that has been decoded: reads the item at `*at` and moves on. */
static inline void types_next_point(const uint8_t **at, struct types_point *item)
{
	struct types_fault_at fault;
	struct types_cursor cursor = { *at, 5, 0, &fault };

	types_take_each_point(&cursor, 0, UINT32_MAX, 1, item);
	*at += 5;
}

/* Writes an item of a list to `*at`, where 5 bytes have room, and moves on. */
static inline void types_append_point(uint8_t **at, const struct types_point *item)
{
	*at = types_put_each_point(*at, 1, item);
}

/* Steps through a list that has been decoded: reads the item at `*at` and moves on. */
static inline void types_next_u16(const uint8_t **at, uint16_t *item)
{
	struct types_fault_at fault;
	struct types_cursor cursor = { *at, 2, 0, &fault };

	types_take_u16(&cursor, 0, item);
	*at += 2;
}

/* Writes an item of a list to `*at`, where 2 bytes have room, and moves on. */
static inline void types_append_u16(uint8_t **at, const uint16_t *item)
{
	*at = types_put(*at, 2, (uint64_t)*item);
}

/* What a message is from the version `since` on, until a later rule of its type. */
struct types_rule {
	uint16_t type;
	uint8_t sender;
	uint8_t id; /* 0: none, 1: required, 2: any */
	uint32_t since;
	uint32_t max_body;
};

static const struct types_rule types_rules[] = {
	{ TYPES_TYPE_FIXED, TYPES_BOTH, 0, 1, 21 },
	{ TYPES_TYPE_FIXED, TYPES_BOTH, 0, 2, 32 },
	{ TYPES_TYPE_VARIABLE, TYPES_BOTH, 0, 1, 18 },
	{ TYPES_TYPE_VARIABLE, TYPES_BOTH, 0, 2, 23 },
	{ 0, 0, 0, 0, 0 },
};

/* The last rule for a type that is not newer than the version. */
static inline const struct types_rule *types_find_rule(uint32_t version, uint16_t type)
{
	const struct types_rule *found = NULL;

	for (const struct types_rule *rule = types_rules; rule->type; rule++)
		if (rule->type == type && rule->since <= version)
			found = rule;
	return found;
}

/* Reads the header of a frame from `sender` and checks all that can be known without its body.
 * `version`, here and below, is the one that both sides agreed on. */
static inline bool types_decode_header(const uint8_t *frame, enum types_end sender, uint32_t version,
	struct types_header *header, struct types_fault_at *fault)
{
	header->body_length = (uint32_t)types_get(frame, 4);
	header->type = (uint16_t)types_get(frame + 4, 2);
	header->flags = (uint16_t)types_get(frame + 6, 2);
	header->id = (uint32_t)types_get(frame + 8, 4);
	const struct types_rule *rule = types_find_rule(version, header->type);
	if (!rule)
		return types_fail(fault, TYPES_FAULT_UNKNOWN_TYPE, 4, 0);
	if (!(rule->sender & sender))
		return types_fail(fault, TYPES_FAULT_BAD_DIRECTION, 4, 0);
	if (header->flags)
		return types_fail(fault, TYPES_FAULT_RESERVED_FLAGS, 6, 0);
	if ((rule->id == 1 && header->id == 0) || (rule->id == 0 && header->id != 0))
		return types_fail(fault, TYPES_FAULT_BAD_ID, 8, 0);
	if (header->body_length > rule->max_body)
		return types_fail(fault, TYPES_FAULT_BODY_TOO_LONG, 0, 0);
	return true;
}

static inline bool types_decode_fixed(const uint8_t *body, size_t size,
	uint32_t version, struct types_fixed *message, struct types_fault_at *fault)
{
	struct types_cursor cursor = { body, size, 0, fault };

	return types_take_f64(&cursor, 1, &message->real) &&
		types_take_octets(&cursor, 2, 3, message->octets) &&
		types_take_i16(&cursor, 3, &message->level) &&
		types_take_each_i32(&cursor, 4, version, 2, message->samples) &&
		(version < 2 ? ((void)(memset(&message->reading, 0, sizeof message->reading)), true) :
			(types_take_each_reading(&cursor, 5, version, 1, &message->reading))) &&
		types_end(&cursor);
}

static inline bool types_decode_variable(const uint8_t *body, size_t size,
	uint32_t version, struct types_variable *message, struct types_fault_at *fault)
{
	struct types_cursor cursor = { body, size, 0, fault };

	return types_take_text(&cursor, 1, 6, false, &message->title) &&
		types_take_count(&cursor, 2, 2, &message->points) &&
		types_take_items_point(&cursor, 2, version, &message->points) &&
		(version < 2 ? ((void)(message->samples = types_no_list()), true) :
			(types_take_count(&cursor, 3, 2, &message->samples) &&
		types_take_items_u16(&cursor, 3, version, &message->samples))) &&
		types_end(&cursor);
}

/* Decodes the body behind a header that has passed its check. */
static inline bool types_decode_body(const struct types_header *header, const uint8_t *body,
	uint32_t version, union types_body *out, struct types_fault_at *fault)
{
	(void)version;
	(void)out;
	switch (header->type) {
	case TYPES_TYPE_FIXED:
		return types_decode_fixed(body, header->body_length, version, &out->fixed, fault);
	case TYPES_TYPE_VARIABLE:
		return types_decode_variable(body, header->body_length, version, &out->variable, fault);
	default:
		(void)body;
		return types_fail(fault, TYPES_FAULT_UNKNOWN_TYPE, 4, 0);
	}
}

/* What is wrong with bytes among which no NUL may be. */
static inline enum types_fault types_check_bytes(const struct types_slice *bytes, uint32_t max)
{
	struct types_fault_at at = { TYPES_FAULT_NONE, 0, 0 };
	const struct types_cursor cursor = { bytes->data, bytes->size, 0, &at };

	if (bytes->size > max)
		return TYPES_FAULT_TOO_LONG;
	types_no_nul(&cursor, 0, bytes);
	return at.fault;
}

/* What is wrong with a list, whose items are as a decoder finds them: each behind its length. */
static inline enum types_fault types_check_list(const struct types_list *list, uint32_t max_items,
	uint32_t max_item, uint32_t max_total, bool nul)
{
	struct types_fault_at at = { TYPES_FAULT_NONE, 0, 0 };
	struct types_cursor cursor = { list->items, list->size, 0, &at };
	struct types_slice item;

	if (list->count > max_items)
		return TYPES_FAULT_TOO_MANY;
	for (uint32_t i = 0; i < list->count; i++) {
		if (!types_take_bytes(&cursor, 0, max_item, nul, &item))
			return at.fault;
		if (cursor.at > max_total)
			return TYPES_FAULT_TOTAL_TOO_LONG;
	}
	types_end(&cursor);
	return at.fault;
}

/* What a decoder would say of the frame: TYPES_FAULT_NONE, or why the message is not sent. */
static inline enum types_fault types_check_fixed(uint32_t version,
	const struct types_fixed *message)
{
	enum types_fault fault;

	if (version < 2 && types_nonzero_reading(1, &message->reading))
		return TYPES_FAULT_TRAILING_BYTES;
	fault = version >= 2 ? types_fault_in_reading(version, 1, &message->reading) : TYPES_FAULT_NONE;
	if (fault)
		return fault;
	return TYPES_FAULT_NONE;
}

/* Writes a frame into `out`, which has so much room, and returns its size; 0 where
 * types_check_fixed finds a fault, or the frame does not fit. */
static inline size_t types_encode_fixed(uint8_t *out, size_t room, uint32_t version,
	const struct types_fixed *message)
{
	uint32_t size = TYPES_HEADER_SIZE;

	if (types_check_fixed(version, message))
		return 0;
	size += 21;
	if (version >= 2)
		size += 11;
	if (size > room)
		return 0;
	uint8_t *at = out + TYPES_HEADER_SIZE;
	at = types_put(at, 8, types_bits_of_f64(&message->real));
	at = types_put_bytes(at, message->octets, 3);
	at = types_put(at, 2, (uint64_t)message->level);
	at = types_put_each_i32(at, 2, message->samples);
	if (version >= 2) {
		at = types_put_each_reading(at, 1, &message->reading);
	}
	types_put_header(out, at, TYPES_TYPE_FIXED, 0);
	return (size_t)(at - out);
}

/* What a decoder would say of the frame: TYPES_FAULT_NONE, or why the message is not sent. */
static inline enum types_fault types_check_variable(uint32_t version,
	const struct types_variable *message)
{
	enum types_fault fault;

	fault = types_check_text(&message->title, 6, false);
	if (fault)
		return fault;
	fault = types_fault_of_items_point(version, &message->points, 2);
	if (fault)
		return fault;
	if (version < 2 && (message->samples.count != 0 || message->samples.size != 0))
		return TYPES_FAULT_TRAILING_BYTES;
	fault = version >= 2 ? types_fault_of_items_u16(version, &message->samples, 2) : TYPES_FAULT_NONE;
	if (fault)
		return fault;
	return TYPES_FAULT_NONE;
}

/* Writes a frame into `out`, which has so much room, and returns its size; 0 where
 * types_check_variable finds a fault, or the frame does not fit. */
static inline size_t types_encode_variable(uint8_t *out, size_t room, uint32_t version,
	const struct types_variable *message)
{
	uint32_t size = TYPES_HEADER_SIZE;

	if (types_check_variable(version, message))
		return 0;
	size += 2 + message->title.size + message->points.size;
	if (version >= 2)
		size += 1 + message->samples.size;
	if (size > room)
		return 0;
	uint8_t *at = out + TYPES_HEADER_SIZE;
	at = types_put(at, 1, message->title.size);
	at = types_put_bytes(at, message->title.data, message->title.size);
	at = types_put(at, 1, message->points.count);
	at = types_put_bytes(at, message->points.items, message->points.size);
	if (version >= 2) {
		at = types_put(at, 1, message->samples.count);
		at = types_put_bytes(at, message->samples.items, message->samples.size);
	}
	types_put_header(out, at, TYPES_TYPE_VARIABLE, 0);
	return (size_t)(at - out);
}

#endif

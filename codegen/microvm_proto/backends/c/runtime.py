"""Templates of the C code that is the same for every schema, whatever its messages are."""

from __future__ import annotations

from collections.abc import Iterator

from microvm_proto.schema import Schema
from microvm_proto.types import FLOATS, Array, Bool, Float, Text, within

TYPES = """
/* Bytes inside a frame. They are not terminated by a NUL. */
struct @p@_slice {
	const uint8_t *data;
	uint32_t size;
};

/* The encoded items of a list inside a frame. An item of variable size is preceded by its length;
 * `size` is the number of bytes of all items and lengths. */
struct @p@_list {
	const uint8_t *items;
	uint32_t size;
	uint32_t count;
};

static inline struct @p@_slice @p@_no_slice(void)
{
	const struct @p@_slice none = { NULL, 0 };

	return none;
}

static inline struct @p@_list @p@_no_list(void)
{
	const struct @p@_list none = { NULL, 0, 0 };

	return none;
}

struct @p@_header {
@header@};

/* The reason for which decoding failed, the offset of the error from the start of the frame, and
 * the number of the field, counted from 1, or 0 for the header. */
struct @p@_fault_at {
	enum @p@_fault fault;
	uint32_t offset;
	uint8_t field;
};
"""

CURSOR = """
static inline uint64_t @p@_get(const uint8_t *from, unsigned size)
{
	uint64_t value = 0;

	for (unsigned i = 0; i < size; i++)
		value |= (uint64_t)from[i] << (8 * i);
	return value;
}

static inline uint8_t *@p@_put(uint8_t *at, unsigned size, uint64_t value)
{
	for (unsigned i = 0; i < size; i++)
		at[i] = (uint8_t)(value >> (8 * i));
	return at + size;
}

/* Copies `size` bytes to `at`, and returns the end of the copy. Does not copy if `data` is `at`, so
 * that a program can read a tail directly into its frame. */
static inline uint8_t *@p@_put_bytes(uint8_t *at, const uint8_t *data, uint32_t size)
{
	if (size > 0 && data != at)
		memmove(at, data, (size_t)size);
	return at + size;
}

@put_header@

static inline bool @p@_fail(struct @p@_fault_at *at, enum @p@_fault fault, size_t offset,
	uint8_t field)
{
	at->fault = fault;
	at->offset = (uint32_t)offset;
	at->field = field;
	return false;
}

/* The state of decoding a body. The offset `at` never exceeds `size`. */
struct @p@_cursor {
	const uint8_t *body;
	size_t size;
	size_t at;
	struct @p@_fault_at *fault;
};

static inline bool @p@_refuse(const struct @p@_cursor *cursor, enum @p@_fault fault, size_t at,
	uint8_t field)
{
	return @p@_fail(cursor->fault, fault, @P@_HEADER_SIZE + at, field);
}

static inline bool @p@_take(struct @p@_cursor *cursor, uint8_t field, unsigned size,
	uint64_t *value)
{
	if (cursor->size - cursor->at < size)
		return @p@_refuse(cursor, @P@_FAULT_TRUNCATED, cursor->at, field);
	*value = @p@_get(cursor->body + cursor->at, size);
	cursor->at += size;
	return true;
}

#define @P@_DEFINE_TAKE(name, type, size) \\
	static inline bool @p@_take_##name(struct @p@_cursor *cursor, uint8_t field, type *out) \\
	{ \\
		uint64_t value; \\
		if (!@p@_take(cursor, field, size, &value)) \\
			return false; \\
		*out = (type)value; \\
		return true; \\
	}
@P@_DEFINE_TAKE(u8, uint8_t, 1)
@P@_DEFINE_TAKE(u16, uint16_t, 2)
@P@_DEFINE_TAKE(u32, uint32_t, 4)
@P@_DEFINE_TAKE(u64, uint64_t, 8)
@P@_DEFINE_TAKE(i8, int8_t, 1)
@P@_DEFINE_TAKE(i16, int16_t, 2)
@P@_DEFINE_TAKE(i32, int32_t, 4)
@P@_DEFINE_TAKE(i64, int64_t, 8)
@P@_DEFINE_TAKE(length, uint32_t, @prefix@)
#undef @P@_DEFINE_TAKE

/* Reports an unknown value if `known` is false. The value is the last `size` bytes that were read.
 * Returns `known`. */
static inline bool @p@_known(const struct @p@_cursor *cursor, uint8_t field, unsigned size,
	bool known)
{
	if (!known)
		@p@_refuse(cursor, @P@_FAULT_UNKNOWN_VALUE, cursor->at - size, field);
	return known;
}

static inline bool @p@_take_constant(struct @p@_cursor *cursor, uint8_t field, unsigned size,
	uint64_t expected)
{
	uint64_t value;

	return @p@_take(cursor, field, size, &value) &&
		@p@_known(cursor, field, size, value == expected);
}

static inline bool @p@_no_nul(const struct @p@_cursor *cursor, uint8_t field,
	const struct @p@_slice *slice)
{
	for (uint32_t i = 0; i < slice->size; i++)
		if (slice->data[i] == 0)
			return @p@_refuse(cursor, @P@_FAULT_EMBEDDED_NUL,
				(size_t)(slice->data - cursor->body) + (size_t)i, field);
	return true;
}

static inline bool @p@_take_bytes(struct @p@_cursor *cursor, uint8_t field, uint32_t max,
	bool nul, struct @p@_slice *out)
{
	size_t prefix = cursor->at;

	if (!@p@_take_length(cursor, field, &out->size))
		return false;
	if (out->size > max)
		return @p@_refuse(cursor, @P@_FAULT_TOO_LONG, prefix, field);
	if (out->size > cursor->size - cursor->at)
		return @p@_refuse(cursor, @P@_FAULT_TRUNCATED, cursor->at, field);
	out->data = cursor->body + cursor->at;
	cursor->at += (size_t)out->size;
	return nul || @p@_no_nul(cursor, field, out);
}

static inline bool @p@_take_count(struct @p@_cursor *cursor, uint8_t field, uint32_t max_items,
	struct @p@_list *out)
{
	size_t prefix = cursor->at;

	if (!@p@_take_length(cursor, field, &out->count))
		return false;
	if (out->count > max_items)
		return @p@_refuse(cursor, @P@_FAULT_TOO_MANY, prefix, field);
	out->items = cursor->body + cursor->at;
	return true;
}

static inline bool @p@_take_list(struct @p@_cursor *cursor, uint8_t field, uint32_t max_items,
	uint32_t max_item, uint32_t max_total, bool nul, struct @p@_list *out)
{
	if (!@p@_take_count(cursor, field, max_items, out))
		return false;
	size_t start = cursor->at;
	for (uint32_t i = 0; i < out->count; i++) {
		struct @p@_slice item;
		size_t before = cursor->at;

		if (!@p@_take_bytes(cursor, field, max_item, nul, &item))
			return false;
		if (cursor->at - start > max_total)
			return @p@_refuse(cursor, @P@_FAULT_TOTAL_TOO_LONG, before, field);
	}
	out->size = (uint32_t)(cursor->at - start);
	return true;
}

/* Returns the item at `*at` of a decoded list, and advances `*at` to the next item. */
static inline struct @p@_slice @p@_next(const uint8_t **at)
{
	struct @p@_slice item = { *at + @prefix@, (uint32_t)@p@_get(*at, @prefix@) };

	*at += @prefix@ + item.size;
	return item;
}

static inline bool @p@_take_tail(struct @p@_cursor *cursor, uint8_t field, uint32_t max,
	struct @p@_slice *out)
{
	size_t left = cursor->size - cursor->at;

	if (left > max)
		return @p@_refuse(cursor, @P@_FAULT_TOO_LONG, cursor->at, field);
	out->data = cursor->body + cursor->at;
	out->size = (uint32_t)left;
	cursor->at = cursor->size;
	return true;
}

static inline bool @p@_end(const struct @p@_cursor *cursor)
{
	if (cursor->at != cursor->size)
		@p@_refuse(cursor, @P@_FAULT_TRAILING_BYTES, cursor->at, 0);
	return cursor->at == cursor->size;
}
"""

_BOOL = """
static inline bool @p@_take_bool(struct @p@_cursor *cursor, uint8_t field, bool *out)
{
	uint8_t byte;

	if (!@p@_take_u8(cursor, field, &byte))
		return false;
	*out = byte != 0;
	return @p@_known(cursor, field, 1, byte <= 1);
}
"""

_OCTETS = """
static inline bool @p@_take_octets(struct @p@_cursor *cursor, uint8_t field, uint32_t count,
	uint8_t *out)
{
	if (count > cursor->size - cursor->at)
		return @p@_refuse(cursor, @P@_FAULT_TRUNCATED, cursor->at, field);
	memcpy(out, cursor->body + cursor->at, (size_t)count);
	cursor->at += (size_t)count;
	return true;
}
"""

_FINITE = """
/* Reports an infinite number or NaN if `finite` is false. The number is the last `size` bytes that
 * were read. Returns `finite`. */
static inline bool @p@_finite(const struct @p@_cursor *cursor, uint8_t field, unsigned size,
	bool finite)
{
	if (!finite)
		@p@_refuse(cursor, @P@_FAULT_NOT_FINITE, cursor->at - size, field);
	return finite;
}
"""

# C functions take floats by address, because passing a NaN by value can change its bits.
_FLOAT = """
typedef char @p@_@f@_needs_a_@type@_of_@size@_bytes[sizeof(@type@) == @size@ ? 1 : -1];

static inline uint@bits@_t @p@_bits_of_@f@(const @type@ *value)
{
	uint@bits@_t bits;

	memcpy(&bits, value, sizeof bits);
	return bits;
}

static inline bool @p@_is_finite_@f@(const @type@ *value)
{
	return (@p@_bits_of_@f@(value) & @exponent@) != @exponent@;
}

static inline void @p@_set_@f@(@type@ *out, uint@bits@_t bits)
{
	memcpy(out, &bits, sizeof bits);
}

static inline bool @p@_take_@f@(struct @p@_cursor *cursor, uint8_t field, @type@ *out)
{
	uint@bits@_t bits;

	if (!@p@_take_u@bits@(cursor, field, &bits))
		return false;
	@p@_set_@f@(out, bits);
	return true;
}
"""

_TEXT = """
/* Returns the size of the UTF-8 sequence (RFC 3629) at the start of `left` bytes; 0 if invalid. */
static inline uint32_t @p@_utf8(const uint8_t *at, uint32_t left)
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

static inline bool @p@_is_text(const struct @p@_cursor *cursor, uint8_t field,
	const struct @p@_slice *slice)
{
	for (uint32_t at = 0; at < slice->size;) {
		uint32_t size = @p@_utf8(slice->data + at, slice->size - at);

		if (size == 0)
			return @p@_refuse(cursor, @P@_FAULT_NOT_UTF8,
				(size_t)(slice->data - cursor->body) + (size_t)at, field);
		at += size;
	}
	return true;
}

static inline bool @p@_take_text(struct @p@_cursor *cursor, uint8_t field, uint32_t max,
	bool nul, struct @p@_slice *out)
{
	return @p@_take_bytes(cursor, field, max, nul, out) && @p@_is_text(cursor, field, out);
}

/* Returns the fault of a text, or FAULT_NONE. */
static inline enum @p@_fault @p@_check_text(const struct @p@_slice *text, uint32_t max, bool nul)
{
	struct @p@_fault_at at = { @P@_FAULT_NONE, 0, 0 };
	const struct @p@_cursor cursor = { text->data, (size_t)text->size, 0, &at };

	if (text->size > max)
		return @P@_FAULT_TOO_LONG;
	if (nul || @p@_no_nul(&cursor, 0, text))
		@p@_is_text(&cursor, 0, text);
	return at.fault;
}
"""


def of_types(schema: Schema) -> Iterator[str]:
    """Yield those C functions for booleans, byte arrays, floats and texts that the schema needs."""
    fields = [field for message in schema.messages for field in message.fields]
    kinds = [kind for field in fields for kind in within(field.type)]
    if any(isinstance(kind, Bool) for kind in kinds):
        yield _BOOL
    if any(isinstance(kind, Array) and kind.is_octets for kind in kinds):
        yield _OCTETS
    if any(isinstance(kind, Float) and kind.finite for kind in kinds):
        yield _FINITE
    for name, kind in FLOATS.items():
        if any(isinstance(each, Float) and each.name == name for each in kinds):
            yield _float(kind)
    if any(isinstance(kind, Text) for kind in kinds):
        yield _TEXT


def _float(kind: Float) -> str:
    named = {
        "f": kind.name,
        "type": "float" if kind.size == 4 else "double",
        "size": str(kind.size),
        "bits": str(8 * kind.size),
        "exponent": f"0x{kind.exponent:x}u",
    }
    text = _FLOAT
    for name, replacement in named.items():
        text = text.replace(f"@{name}@", replacement)
    return text


CHECKS = """
/* Returns the fault of bytes that must not contain NUL, or FAULT_NONE. */
static inline enum @p@_fault @p@_check_bytes(const struct @p@_slice *bytes, uint32_t max)
{
	struct @p@_fault_at at = { @P@_FAULT_NONE, 0, 0 };
	const struct @p@_cursor cursor = { bytes->data, (size_t)bytes->size, 0, &at };

	if (bytes->size > max)
		return @P@_FAULT_TOO_LONG;
	@p@_no_nul(&cursor, 0, bytes);
	return at.fault;
}

/* Checks a list, in which a length precedes each item. Returns its fault, or FAULT_NONE. */
static inline enum @p@_fault @p@_check_list(const struct @p@_list *list, uint32_t max_items,
	uint32_t max_item, uint32_t max_total, bool nul)
{
	struct @p@_fault_at at = { @P@_FAULT_NONE, 0, 0 };
	struct @p@_cursor cursor = { list->items, (size_t)list->size, 0, &at };
	struct @p@_slice item;

	if (list->count > max_items)
		return @P@_FAULT_TOO_MANY;
	for (uint32_t i = 0; i < list->count; i++) {
		if (!@p@_take_bytes(&cursor, 0, max_item, nul, &item))
			return at.fault;
		if (cursor.at > max_total)
			return @P@_FAULT_TOTAL_TOO_LONG;
	}
	@p@_end(&cursor);
	return at.fault;
}
"""

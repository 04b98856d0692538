"""C11: one freestanding header that decodes without allocating, and encodes into a buffer."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator

from microvm_proto.faults import FAULTS
from microvm_proto.schema import (
    INTEGERS,
    ByteList,
    Bytes,
    Enum,
    Field,
    Integer,
    Message,
    Schema,
    Tail,
)

WIDTH = 100


def emit(schema: Schema, file: str) -> dict[str, str]:
    """The header; everything in it starts with the schema's name."""
    name = schema.name
    parts = [
        _top(schema),
        _enum(
            name,
            "end",
            "The two ends; a message's sender is one of them, or both.",
            [(end, number, "") for number, end in enumerate(schema.ends, 1)] + [("both", 3, "")],
        ),
        _enum(
            name,
            "fault",
            "How a frame is malformed; 0 when it is not.",
            [("fault_none", 0, ""), *((f"fault_{f.name}", f.number, f.doc) for f in FAULTS)],
        ),
        _enum(
            name,
            "type",
            "The messages.",
            [(f"type_{m.name}", m.number, m.doc) for m in schema.messages]
            or [("type_none", 0, "")],
        ),
        *(_schema_enum(name, enum) for enum in schema.enums),
        _sizes(schema),
        _RUNTIME_TYPES,
        *(_struct(name, message) for message in schema.messages),
        _union(schema),
        _RUNTIME,
        _rules(schema),
        _HEADER_CHECK,
        *(_decode(name, message) for message in schema.messages),
        _decode_any(schema),
        *(_encode(name, message) for message in schema.messages),
        "#endif",
    ]
    text = "\n\n".join(part.strip("\n") for part in parts if part) + "\n"
    return {file: text.replace("@P@", name.upper()).replace("@p@", name)}


def _comment(text: str, indent: str = "") -> str:
    if not text:
        return ""
    text = text.replace("*/", "* /").replace("/*", "/ *")
    lines = textwrap.wrap(text, WIDTH - len(indent) - 6)
    if len(lines) == 1:
        return f"{indent}/* {lines[0]} */\n"
    return "\n".join([f"{indent}/* {lines[0]}", *(f"{indent} * {x}" for x in lines[1:])]) + " */\n"


def _top(schema: Schema) -> str:
    about = (
        f"The wire protocol of {schema.name}, version {schema.version}. Generated from "
        f"{schema.path.name} by `microvm-proto gen`. Freestanding C11; nothing in it allocates or "
        "keeps state. Every value that is decoded has been checked against its bounds, and slices "
        "point into the frame. For C++, too."
    )
    return f"""{_comment(about)}#ifndef @P@_PROTOCOL_H
#define @P@_PROTOCOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define @P@_VERSION {schema.version}u
#define @P@_SCHEMA_DIGEST 0x{schema.digest:016x}ULL"""


def _enum(name: str, kind: str, doc: str, values: Iterable[tuple[str, int, str]]) -> str:
    lines = [
        f"{_comment(text, chr(9))}\t{name.upper()}_{value.upper()} = {_literal(number)},"
        for value, number, text in values
    ]
    return f"{_comment(doc)}enum {name}_{kind} {{\n" + "\n".join(lines) + "\n};"


def _literal(number: int) -> str:
    """A constant that C reads without a warning; its most negative one is an expression."""
    if number < -0x7FFFFFFFFFFFFFFF:
        return f"({number + 1}LL - 1)"
    return f"{number}ULL" if number > 0x7FFFFFFFFFFFFFFF else str(number)


def _bits(field: Field, number: int) -> str:
    """A constant as it stands on the wire."""
    return f"0x{number & ((1 << 8 * field.max_size) - 1):x}ULL"


def _schema_enum(name: str, enum: Enum) -> str:
    values = [(f"{enum.name}_{value.name}", value.number, value.doc) for value in enum.values]
    return _enum(name, enum.name, enum.doc, values)


def _sizes(schema: Schema) -> str:
    lines = ["\t@P@_HEADER_SIZE = 12,", f"\t@P@_MAX_BODY = {schema.max_body},"]
    for end in schema.ends:
        tailless = schema.max_body_from(end, tails=False)
        lines.append(f"\t@P@_MAX_BODY_FROM_{end.upper()} = {schema.max_body_from(end)},")
        lines.append(f"\t@P@_MAX_TAILLESS_BODY_FROM_{end.upper()} = {tailless},")
    for message in schema.messages:
        lines.append(f"\t@P@_{message.name.upper()}_MAX_BODY = {message.max_body},")
        for field in message.fields:
            lines += [
                f"\t@P@_{message.name.upper()}_{field.name.upper()}_{bound} = {value},"
                for bound, value in _bounds(field)
            ]
    about = (
        "Sizes in bytes; list bounds count the items. TAILLESS is about messages without a tail, "
        "which are small as a rule."
    )
    return f"{_comment(about)}enum {{\n" + "\n".join(lines) + "\n};"


def _bounds(field: Field) -> list[tuple[str, int]]:
    match field.type:
        case Bytes(maximum=maximum):
            return [("MAX", maximum)]
        case ByteList(max_items=items, max_item=item, max_total=total):
            return [("MAX_ITEMS", items), ("MAX_ITEM", item), ("MAX_TOTAL", total)]
        case Tail(maximum=maximum):
            # The tail is last: what precedes it has a fixed offset when nothing is variable.
            prefix = [("PREFIX", field.offset)] if field.offset is not None else []
            return [("MAX", maximum), *prefix]
    return []


def _visible(message: Message) -> list[Field]:
    return [field for field in message.fields if field.equals is None]


def _struct(name: str, message: Message) -> str:
    lines = [f"{_comment(f.doc, chr(9))}\t{_c_type(f)} {f.name};" for f in _visible(message)]
    if not lines:
        return ""
    return f"{_comment(message.doc)}struct {name}_{message.name} {{\n" + "\n".join(lines) + "\n};"


def _c_type(field: Field) -> str:
    match field.type:
        case Integer(size=size, signed=signed) | Enum(base=Integer(size=size, signed=signed)):
            return f"{'' if signed else 'u'}int{8 * size}_t"
        case Bytes() | Tail():
            return "struct @p@_slice"
        case ByteList():
            return "struct @p@_list"


def _union(schema: Schema) -> str:
    members = "\n".join(
        f"\tstruct @p@_{message.name} {message.name};"
        for message in schema.messages
        if _visible(message)
    )
    members = members or "\tchar none;"
    return f"/* The body of any message. */\nunion @p@_body {{\n{members}\n}};"


def _decode_any(schema: Schema) -> str:
    cases = "".join(
        f"\tcase @P@_TYPE_{message.name.upper()}:\n"
        f"\t\treturn @p@_decode_{message.name}(body, header->body_length, "
        f"{f'&out->{message.name}, ' if _visible(message) else ''}fault);\n"
        for message in schema.messages
    )
    return f"""/* Decodes the body behind a header that has passed its check. */
static inline bool @p@_decode_body(const struct @p@_header *header, const uint8_t *body,
\tunion @p@_body *out, struct @p@_fault_at *fault)
{{
\t(void)out;
\tswitch (header->type) {{
{cases}\tdefault:
\t\t(void)body;
\t\treturn @p@_fail(fault, @P@_FAULT_UNKNOWN_TYPE, 4, 0);
\t}}
}}"""


def _rules(schema: Schema) -> str:
    identifiers = {"none": 0, "required": 1, "any": 2}
    rows = [
        f"\t{{ @P@_TYPE_{m.name.upper()}, @P@_{m.sender.upper()}, {identifiers[m.id]}, "
        f"@P@_{m.name.upper()}_MAX_BODY }},"
        for m in schema.messages
    ] or ["\t{ 0, 0, 0, 0 },"]
    return (
        "struct @p@_rule {\n\tuint16_t type;\n\tuint8_t sender;\n"
        "\tuint8_t id; /* 0: none, 1: required, 2: any */\n\tuint32_t max_body;\n};\n\n"
        "static const struct @p@_rule @p@_rules[] = {\n" + "\n".join(rows) + "\n};"
    )


def _decode(name: str, message: Message) -> str:
    has_struct = bool(_visible(message))
    target = f"struct {name}_{message.name} *message, " if has_struct else ""
    steps = [_decode_field(field, number) for number, field in enumerate(message.fields, 1)]
    if not message.fields or not isinstance(message.fields[-1].type, Tail):
        steps.append("@p@_end(&cursor)")
    body = " &&\n\t\t".join(steps)
    return f"""static inline bool @p@_decode_{message.name}(const uint8_t *body, size_t size,
\t{target}struct @p@_fault_at *fault)
{{
\tstruct @p@_cursor cursor = {{ body, size, 0, fault }};

\treturn {body};
}}"""


def _decode_field(field: Field, number: int) -> str:
    into = f"&message->{field.name}"
    match field.type:
        case Integer(size=size, signed=signed):
            if field.equals is not None:
                bits = _bits(field, field.equals)
                return f"@p@_take_constant(&cursor, {number}, {size}, {bits})"
            suffix = f"{'i' if signed else 'u'}{8 * size}"
            return f"@p@_take_{suffix}(&cursor, {number}, {into})"
        case Enum(base=base, closed=closed) as enum:
            take = f"@p@_take_{base.name}(&cursor, {number}, {into})"
            if not closed:
                return take
            known = _known(enum, f"message->{field.name}")
            return f"{take} &&\n\t\t@p@_known(&cursor, {number}, {base.size},\n\t\t\t{known})"
        case Bytes(maximum=maximum, nul=nul):
            return f"@p@_take_bytes(&cursor, {number}, {maximum}, {_bool(nul)}, {into})"
        case ByteList(max_items=items, max_item=item, max_total=total, nul=nul):
            bounds = f"{items}, {item}, {total}"
            return f"@p@_take_list(&cursor, {number}, {bounds},\n\t\t\t{_bool(nul)}, {into})"
        case Tail(maximum=maximum):
            return f"@p@_take_tail(&cursor, {number}, {maximum}, {into})"


def _bool(value: bool) -> str:
    return "true" if value else "false"


def _known(enum: Enum, value: str) -> str:
    names = [f"@P@_{enum.name.upper()}_{item.name.upper()}" for item in enum.values]
    return " || ".join(f"{value} == {name}" for name in names)


def _encode(name: str, message: Message) -> str:
    has_struct = bool(_visible(message))
    parameters = ["uint8_t *out"]
    parameters += ["uint32_t id"] if message.id != "none" else []
    parameters += [f"const struct {name}_{message.name} *message"] if has_struct else []
    steps = "\n".join(f"\t{line}" for field in message.fields for line in _encode_field(field))
    steps = f"{steps}\n" if steps else ""
    identifier = "id" if message.id != "none" else "0"
    room = f"@P@_HEADER_SIZE + @P@_{message.name.upper()}_MAX_BODY"
    bounded = any(not field.fixed for field in message.fields)
    refusal = " 0 when a value is longer than it may be." if bounded else ""
    about = _comment(f"Writes a frame and returns its size; `out` has room for {room}.{refusal}")
    return f"""{about}\
static inline size_t @p@_encode_{message.name}({", ".join(parameters)})
{{
\tuint8_t *at = out + @P@_HEADER_SIZE;

{steps}\t@p@_put_header(out, at, @P@_TYPE_{message.name.upper()}, {identifier});
\treturn (size_t)(at - out);
}}"""


def _limit(value: str, maximum: int) -> Iterator[str]:
    # Compilers complain about a comparison that is never true.
    if maximum < INTEGERS["u32"].maximum:
        yield f"if ({value} > {maximum})"
        yield "\treturn 0;"


def _encode_field(field: Field) -> Iterator[str]:
    value = f"message->{field.name}" if field.equals is None else _bits(field, field.equals)
    match field.type:
        case Integer(size=size) | Enum(base=Integer(size=size)):
            yield f"at = @p@_put(at, {size}, (uint64_t){value});"
        case Bytes(maximum=maximum):
            yield from _limit(f"{value}.size", maximum)
            yield f"at = @p@_put(at, 4, {value}.size);"
            yield f"at = @p@_put_bytes(at, {value}.data, {value}.size);"
        case ByteList(max_items=items, max_total=total):
            yield from _limit(f"{value}.count", items)
            yield from _limit(f"{value}.size", total)
            yield f"at = @p@_put(at, 4, {value}.count);"
            yield f"at = @p@_put_bytes(at, {value}.items, {value}.size);"
        case Tail(maximum=maximum):
            yield from _limit(f"{value}.size", maximum)
            yield f"at = @p@_put_bytes(at, {value}.data, {value}.size);"


_RUNTIME_TYPES = """
/* Bytes inside a frame; not terminated. */
struct @p@_slice {
	const uint8_t *data;
	uint32_t size;
};

/* A list inside a frame: its items, each behind its length; `size` is all of that. */
struct @p@_list {
	const uint8_t *items;
	uint32_t size;
	uint32_t count;
};

struct @p@_header {
	uint32_t body_length;
	uint16_t type;
	uint16_t flags;
	uint32_t id;
};

/* Where and why decoding failed: the offset from the start of the frame; the field counted from
 * 1, or 0 for the header. */
struct @p@_fault_at {
	enum @p@_fault fault;
	uint32_t offset;
	uint8_t field;
};
"""

_RUNTIME = """
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

/* Data that is in place already is not copied: a tail can be read straight into its frame. */
static inline uint8_t *@p@_put_bytes(uint8_t *at, const uint8_t *data, uint32_t size)
{
	if (size > 0 && data != at)
		__builtin_memcpy(at, data, size);
	return at + size;
}

static inline void @p@_put_header(uint8_t *out, const uint8_t *end, uint16_t type, uint32_t id)
{
	size_t body = (size_t)(end - out) - @P@_HEADER_SIZE;

	@p@_put(out, 4, body);
	@p@_put(out + 4, 2, type);
	@p@_put(out + 6, 2, 0);
	@p@_put(out + 8, 4, id);
}

static inline bool @p@_fail(struct @p@_fault_at *at, enum @p@_fault fault, size_t offset,
	uint8_t field)
{
	at->fault = fault;
	at->offset = (uint32_t)offset;
	at->field = field;
	return false;
}

/* A body that is being decoded: `at` is never beyond `size`. */
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
#undef @P@_DEFINE_TAKE

/* What was just taken, `size` bytes of it, must be a known value. */
static inline bool @p@_known(const struct @p@_cursor *cursor, uint8_t field, unsigned size,
	bool known)
{
	return known ||
		@p@_refuse(cursor, @P@_FAULT_UNKNOWN_VALUE, cursor->at - size, field);
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
				(size_t)(slice->data - cursor->body) + i, field);
	return true;
}

static inline bool @p@_take_bytes(struct @p@_cursor *cursor, uint8_t field, uint32_t max,
	bool nul, struct @p@_slice *out)
{
	size_t prefix = cursor->at;

	if (!@p@_take_u32(cursor, field, &out->size))
		return false;
	if (out->size > max)
		return @p@_refuse(cursor, @P@_FAULT_TOO_LONG, prefix, field);
	if (out->size > cursor->size - cursor->at)
		return @p@_refuse(cursor, @P@_FAULT_TRUNCATED, cursor->at, field);
	out->data = cursor->body + cursor->at;
	cursor->at += out->size;
	return nul || @p@_no_nul(cursor, field, out);
}

static inline bool @p@_take_list(struct @p@_cursor *cursor, uint8_t field, uint32_t max_items,
	uint32_t max_item, uint32_t max_total, bool nul, struct @p@_list *out)
{
	size_t prefix = cursor->at;

	if (!@p@_take_u32(cursor, field, &out->count))
		return false;
	if (out->count > max_items)
		return @p@_refuse(cursor, @P@_FAULT_TOO_MANY, prefix, field);
	size_t start = cursor->at;
	for (uint32_t i = 0; i < out->count; i++) {
		struct @p@_slice item;
		size_t before = cursor->at;

		if (!@p@_take_bytes(cursor, field, max_item, nul, &item))
			return false;
		if (cursor->at - start > max_total)
			return @p@_refuse(cursor, @P@_FAULT_TOTAL_TOO_LONG, before, field);
	}
	out->items = cursor->body + start;
	out->size = (uint32_t)(cursor->at - start);
	return true;
}

/* Steps through a list that has been decoded: returns the item at `*at` and moves on. */
static inline struct @p@_slice @p@_next(const uint8_t **at)
{
	struct @p@_slice item = { *at + 4, (uint32_t)@p@_get(*at, 4) };

	*at += 4 + item.size;
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
	return cursor->at == cursor->size ||
		@p@_refuse(cursor, @P@_FAULT_TRAILING_BYTES, cursor->at, 0);
}
"""

_HEADER_CHECK = """
static inline const struct @p@_rule *@p@_find_rule(uint16_t type)
{
	for (size_t i = 0; i < sizeof @p@_rules / sizeof @p@_rules[0]; i++)
		if (@p@_rules[i].type == type)
			return &@p@_rules[i];
	return NULL;
}

/* Reads the header of a frame from `sender` and checks all that can be known without its body. */
static inline bool @p@_decode_header(const uint8_t *frame, enum @p@_end sender,
	struct @p@_header *header, struct @p@_fault_at *fault)
{
	header->body_length = (uint32_t)@p@_get(frame, 4);
	header->type = (uint16_t)@p@_get(frame + 4, 2);
	header->flags = (uint16_t)@p@_get(frame + 6, 2);
	header->id = (uint32_t)@p@_get(frame + 8, 4);
	const struct @p@_rule *rule = @p@_find_rule(header->type);
	if (!rule)
		return @p@_fail(fault, @P@_FAULT_UNKNOWN_TYPE, 4, 0);
	if (!(rule->sender & sender))
		return @p@_fail(fault, @P@_FAULT_BAD_DIRECTION, 4, 0);
	if (header->flags)
		return @p@_fail(fault, @P@_FAULT_RESERVED_FLAGS, 6, 0);
	if ((rule->id == 1 && header->id == 0) || (rule->id == 0 && header->id != 0))
		return @p@_fail(fault, @P@_FAULT_BAD_ID, 8, 0);
	if (header->body_length > rule->max_body)
		return @p@_fail(fault, @P@_FAULT_BODY_TOO_LONG, 0, 0);
	return true;
}
"""

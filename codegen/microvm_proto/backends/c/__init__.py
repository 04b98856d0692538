"""C11: one freestanding header that decodes without allocating, and encodes into a buffer."""

from __future__ import annotations

import itertools
import re
import textwrap
from collections.abc import Iterable, Iterator

from microvm_proto.backends.c import runtime
from microvm_proto.digest import wire_digest
from microvm_proto.faults import FAULTS
from microvm_proto.schema import (
    HEADER_SIZE,
    INTEGERS,
    ByteList,
    Bytes,
    Enum,
    EnumValue,
    Field,
    Integer,
    Message,
    Schema,
    Tail,
    bounds,
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
        runtime.TYPES,
        *(_struct(name, message) for message in schema.messages),
        _union(schema),
        runtime.CURSOR,
        _rules(schema),
        runtime.HEADER_CHECK,
        *(_decode(name, message) for message in schema.messages),
        _decode_any(schema),
        runtime.CHECKS,
        *(
            function
            for message in schema.messages
            for function in (_check(name, message), _encode(name, message))
        ),
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
        f"{schema.source} by `microvm-proto gen`. Freestanding C11; nothing in it allocates or "
        "keeps state. Every value that is decoded has been checked against its bounds, and slices "
        "point into the frame. For C++, too."
    )
    return f"""{_comment(about)}#ifndef @P@_PROTOCOL_H
#define @P@_PROTOCOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define @P@_VERSION {schema.version}u
#define @P@_SCHEMA_DIGEST 0x{wire_digest(schema):016x}ULL"""


def _enum(name: str, kind: str, doc: str, values: Iterable[tuple[str, int, str]]) -> str:
    named = [(f"{name.upper()}_{value.upper()}", number, text) for value, number, text in values]
    return f"{_comment(doc)}{_constants(f'enum {name}_{kind}', named)}"


def _constants(head: str, values: Iterable[tuple[str, int, str]]) -> str:
    """An enum; what its values cannot be in standard C, beyond `int`, stands behind it."""
    inside, beyond = [], []
    for name, number, text in values:
        if -(1 << 31) <= number < 1 << 31:
            inside.append(f"{_comment(text, chr(9))}\t{name} = {_literal(number)},")
        else:
            beyond.append(f"{_comment(text)}#define {name} {_literal(number)}")
    enum = [f"{head} {{\n" + "\n".join(inside) + "\n};"] if inside else []
    return "\n".join([*enum, *beyond])


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
    values = [("HEADER_SIZE", HEADER_SIZE), ("MAX_BODY", schema.max_body)]
    for end in schema.ends:
        values.append((f"MAX_BODY_FROM_{end.upper()}", schema.max_body_from(end)))
        tailless = schema.max_body_from(end, tails=False)
        values.append((f"MAX_TAILLESS_BODY_FROM_{end.upper()}", tailless))
    for message in schema.messages:
        name = message.name.upper()
        values.append((f"{name}_MAX_BODY", message.max_body))
        for field in message.fields:
            values += [(f"{name}_{field.name.upper()}_{b}", size) for b, size in _bounds(field)]
    named = [(f"@P@_{name}", size, "") for name, size in values]
    about = (
        "Sizes in bytes; list bounds count the items. TAILLESS is about messages without a tail, "
        "which are small as a rule."
    )
    return f"{_comment(about)}{_constants('enum', named)}"


def _bounds(field: Field) -> list[tuple[str, int]]:
    named = [(key.upper(), bound) for key, bound in bounds(field.type).items()]
    # The tail is last: what precedes it has a fixed offset when nothing is variable.
    if isinstance(field.type, Tail) and field.offset is not None:
        named.append(("PREFIX", field.offset))
    return named


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
        f"\t\treturn @p@_decode_{message.name}(body, header->body_length, version, "
        f"{f'&out->{message.name}, ' if _visible(message) else ''}fault);\n"
        for message in schema.messages
    )
    return f"""/* Decodes the body behind a header that has passed its check. */
static inline bool @p@_decode_body(const struct @p@_header *header, const uint8_t *body,
\tuint32_t version, union @p@_body *out, struct @p@_fault_at *fault)
{{
\t(void)version;
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
        f"{version}, {m.at(version).max_body} }},"
        for m in schema.messages
        for version in m.versions
    ]
    # No message has the type 0, so that it can end the table.
    rows.append("\t{ 0, 0, 0, 0, 0 },")
    return (
        "/* What a message is from the version `since` on, until a later rule of its type. */\n"
        "struct @p@_rule {\n\tuint16_t type;\n\tuint8_t sender;\n"
        "\tuint8_t id; /* 0: none, 1: required, 2: any */\n\tuint32_t since;\n"
        "\tuint32_t max_body;\n};\n\n"
        "static const struct @p@_rule @p@_rules[] = {\n" + "\n".join(rows) + "\n};"
    )


def _decode(name: str, message: Message) -> str:
    has_struct = bool(_visible(message))
    target = f"struct {name}_{message.name} *message, " if has_struct else ""
    steps = [
        _decode_later(field, step) if message.is_later(field) else step
        for field in message.fields
        for step in [_decode_field(field)]
    ]
    if not message.fields or not isinstance(message.fields[-1].type, Tail):
        steps.append("@p@_end(&cursor)")
    body = " &&\n\t\t".join(steps)
    unused = "" if len(message.versions) > 1 else "\n\t(void)version;"
    return f"""static inline bool @p@_decode_{message.name}(const uint8_t *body, size_t size,
\tuint32_t version, {target}struct @p@_fault_at *fault)
{{
\tstruct @p@_cursor cursor = {{ body, size, 0, fault }};
{unused}
\treturn {body};
}}"""


def _decode_later(field: Field, step: str) -> str:
    """A field that older versions do not have."""
    if field.equals is not None:
        return f"(version < {field.since} || {step})"
    instead = f"message->{field.name} = {_default(field)}"
    after = "@p@_end(&cursor)" if isinstance(field.type, Tail) else "true"
    return f"(version < {field.since} ? ({instead}, {after}) :\n\t\t\t({step}))"


def _default(field: Field) -> str:
    match field.type:
        case Bytes() | Tail():
            return "@p@_no_slice()"
        case ByteList():
            return "@p@_no_list()"
        case _:
            return f"({_c_type(field)}){_literal(field.default)}"


def _decode_field(field: Field) -> str:
    into, number = f"&message->{field.name}", field.number
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
            known = _known(enum, field)
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


def _known(enum: Enum, field: Field) -> str:
    """Whether a closed enum has the field's value in this version."""
    return " || ".join(
        f"{equal}" if value.since <= field.since else f"(version >= {value.since} && {equal})"
        for value, equal in _equals(enum, field)
    )


def _equals(enum: Enum, field: Field) -> Iterator[tuple[EnumValue, str]]:
    for value in enum.values:
        name = f"@P@_{enum.name.upper()}_{value.name.upper()}"
        yield value, f"message->{field.name} == {name}"


def _check(name: str, message: Message) -> str:
    """The function that says whether a message can be sent, by the rules that decoders have."""
    parameters = ["uint32_t version", *_parameters(name, message)]
    lines = [line for refusal in _refusals(message) for line in refusal]
    text = "\n".join(lines)
    # A parameter is used where its name stands, but not as that of a field.
    unused = [n for n in map(_name, parameters) if not re.search(rf"(?<!->)\b{n}\b", text)]
    lines[:0] = [f"(void){parameter};" for parameter in unused]
    if "fault = " in text:
        lines.insert(0, "enum @p@_fault fault;\n")
    body = "".join(f"\t{line}\n" for line in lines)
    about = (
        f"What a decoder would say of the frame: {name.upper()}_FAULT_NONE, or why the message is "
        "not sent."
    )
    head = f"static inline enum @p@_fault @p@_check_{message.name}({', '.join(parameters)})"
    return f"{_comment(about)}{head}\n{{\n{body}\treturn @P@_FAULT_NONE;\n}}"


def _parameters(name: str, message: Message) -> list[str]:
    """What an encoder needs of a message beside the version."""
    parameters = ["uint32_t id"] if message.id != "none" else []
    if _visible(message):
        parameters.append(f"const struct {name}_{message.name} *message")
    return parameters


def _name(parameter: str) -> str:
    return parameter.rsplit(maxsplit=1)[-1].lstrip("*")


def _encode(name: str, message: Message) -> str:
    given = ["uint32_t version", *_parameters(name, message)]
    arguments = ", ".join(map(_name, given))
    steps = "".join(f"\t{line}\n" for line in _encode_steps(message))
    identifier = "id" if message.id != "none" else "0"
    room = f"{name}_HEADER_SIZE + {name}_{message.name}_MAX_BODY".upper()
    check = f"{name}_check_{message.name}"
    about = (
        f"Writes a frame and returns its size, or 0 where {check} finds a fault; `out` has room "
        f"for {room}."
    )
    parameters = ", ".join(["uint8_t *out", *given])
    return f"""{_comment(about)}static inline size_t @p@_encode_{message.name}({parameters})
{{
\tuint8_t *at = out + @P@_HEADER_SIZE;

\tif ({check}({arguments}))
\t\treturn 0;
{steps}\t@p@_put_header(out, at, @P@_TYPE_{message.name.upper()}, {identifier});
\treturn (size_t)(at - out);
}}"""


def _refusals(message: Message) -> Iterator[list[str]]:
    """The statements that leave a check with a fault, in the order in which decoders look."""
    if message.since > 1:
        yield _refuse_if(f"version < {message.since}", "unknown_type")
    if message.id == "required":
        yield _refuse_if("id == 0", "bad_id")
    for field in _visible(message):
        there = ""
        if message.is_later(field):
            there = f"version >= {field.since}"
            yield _refuse_if(f"version < {field.since} && {_differs(field)}", "trailing_bytes")
        yield from _refused_values(field, there)


def _differs(field: Field) -> str:
    """Whether a field is other than what stands for it in older versions."""
    value = f"message->{field.name}"
    match field.type:
        case Bytes() | Tail():
            return f"{value}.size != 0"
        case ByteList():
            return f"({value}.count != 0 || {value}.size != 0)"
        case _:
            return f"{value} != {_literal(field.default)}"


def _refused_values(field: Field, there: str) -> Iterator[list[str]]:
    """The same for the values of a field, where a condition holds."""
    value, condition = f"message->{field.name}", f"{there} && " if there else ""
    match field.type:
        case Enum(closed=True) as enum:
            known = _known(enum, field).replace(" || ", " ||\n\t\t")
            yield _refuse_if(f"{condition}!({known})", "unknown_value")
        case Bytes(maximum=maximum, nul=False):
            yield _refuse_by(f"bytes(&{value}, {maximum})", there)
        # Compilers complain about a comparison that is never true.
        case Bytes(maximum=maximum) | Tail(maximum=maximum) if maximum < INTEGERS["u32"].maximum:
            yield _refuse_if(f"{condition}{value}.size > {maximum}", "too_long")
        case ByteList(max_items=items, max_item=item, max_total=total, nul=nul):
            yield _refuse_by(f"list(&{value}, {items}, {item}, {total}, {_bool(nul)})", there)


def _refuse_if(condition: str, fault: str) -> list[str]:
    return [f"if ({condition})", f"\treturn @P@_FAULT_{fault.upper()};"]


def _refuse_by(check: str, there: str) -> list[str]:
    otherwise = f"{there} ? " if there else ""
    instead = " : @P@_FAULT_NONE" if there else ""
    return [f"fault = {otherwise}@p@_check_{check}{instead};", "if (fault)", "\treturn fault;"]


def _encode_steps(message: Message) -> Iterator[str]:
    for later, run in itertools.groupby(
        message.fields, lambda field: field.since if message.is_later(field) else 0
    ):
        lines = [line for field in run for line in _encode_field(field)]
        yield from [f"if (version >= {later}) {{"] if later else []
        yield from (f"\t{line}" if later else line for line in lines)
        yield from ["}"] if later else []


def _encode_field(field: Field) -> Iterator[str]:
    value = f"message->{field.name}" if field.equals is None else _bits(field, field.equals)
    match field.type:
        case Integer(size=size) | Enum(base=Integer(size=size)):
            yield f"at = @p@_put(at, {size}, (uint64_t){value});"
        case Bytes():
            yield f"at = @p@_put(at, 4, {value}.size);"
            yield f"at = @p@_put_bytes(at, {value}.data, {value}.size);"
        case ByteList():
            yield f"at = @p@_put(at, 4, {value}.count);"
            yield f"at = @p@_put_bytes(at, {value}.items, {value}.size);"
        case Tail():
            yield f"at = @p@_put_bytes(at, {value}.data, {value}.size);"

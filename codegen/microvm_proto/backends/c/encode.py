"""Generate the C functions that check a message and encode it."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping

from microvm_proto.backends.c import values
from microvm_proto.backends.c.text import comment, signature, uses, wire_bits
from microvm_proto.framing import DELIMITER, Framing
from microvm_proto.schema import Message, Schema
from microvm_proto.types import Field


def check(schema: Schema, message: Message) -> str:
    """Generate the C function that returns the fault for which a decoder would refuse a message."""
    lines = [*_refusals(message)]
    text = "\n".join(lines)
    given = map(_name, _parameters(schema, message))
    unused = [parameter for parameter in given if not uses(parameter, text)]
    lines[:0] = [f"(void){parameter};" for parameter in unused]
    if "fault = " in text:
        lines.insert(0, "enum @p@_fault fault;\n")
    about = (
        f"Returns {schema.name.upper()}_FAULT_NONE if the message is valid, or else the fault that "
        "a decoder would find in its frame."
    )
    head = check_head(schema, message)
    return f"{comment(about)}{head}\n{{\n{_lines(lines)}\treturn @P@_FAULT_NONE;\n}}"


def check_head(schema: Schema, message: Message) -> str:
    """Return the signature of the C function that finds the fault of a message."""
    head = f"static inline enum {schema.name}_fault {schema.name}_check_{message.c_name}"
    return signature(head, _parameters(schema, message))


def encode_head(schema: Schema, message: Message) -> str:
    """Return the signature of the C function that encodes a message."""
    version, *own = _parameters(schema, message)
    sequence = ["uint8_t sequence"] if schema.framing.sequence else []
    head = f"static inline size_t {schema.name}_encode_{message.c_name}"
    return signature(head, ["uint8_t *out", "size_t room", version, *sequence, *own])


def _parameters(schema: Schema, message: Message) -> list[str]:
    parameters = ["uint32_t version"]
    parameters += [f"uint{8 * schema.framing.id}_t id"] if message.id != "none" else []
    parameters += (
        [f"const struct {schema.name}_{message.c_name} *message"] if message.visible else []
    )
    return parameters


def _name(parameter: str) -> str:
    """Return the name of a C parameter from its declaration: `message` for `struct p *message`."""
    return parameter.rsplit(maxsplit=1)[-1].lstrip("*")


def encode_message(schema: Schema, message: Message) -> str:
    """Generate the C function that encodes one message."""
    arguments = ", ".join(map(_name, _parameters(schema, message)))
    check, framing = f"{schema.name}_check_{message.c_name}", schema.framing
    about = (
        "Writes a frame into `out`, a buffer of `room` bytes. Returns the size of the frame, or 0 "
        f"if {check} finds a fault or the frame does not fit."
    )
    size = f"@P@_HEADER_SIZE{' + @P@_CHECK_SIZE' if framing.check_size else ''}"
    frame, place = "out", ""
    if framing.kind == "cobs":
        # The COBS encoding of a frame is longer than the frame. So write the frame into `out`
        # behind a gap for the additional bytes. Its encoding is then written from the beginning of
        # `out`, and overwrites only bytes of the frame that have been encoded already.
        stuffing = framing.stuffing(message.max_body)
        size, frame = f"{size} + {stuffing}", "frame"
        place = f"\tuint8_t *frame = out + {stuffing - len(DELIMITER)};\n"
    header = {
        "type": f"@P@_TYPE_{message.c_name.upper()}",
        "id": "id" if message.id != "none" else "0",
    }
    return f"""{comment(about)}{encode_head(schema, message)}
{{
\tuint32_t size = {size};

\tif ({check}({arguments}))
\t\treturn 0;
{_lines(_frame_size(message))}\tif (size > room)
\t\treturn 0;
{place}\tuint8_t *at = {frame} + @P@_HEADER_SIZE;
{_lines(_encode_steps(message))}{_lines(finish(framing, frame, header))}}}"""


def finish(framing: Framing, frame: str, type_and_id: Mapping[str, str]) -> Iterator[str]:
    """Yield C statements that complete `frame`, write its `type_and_id` and return its size.

    The C pointer `at` must point to the end of the body before them.

    :param type_and_id: C expressions for these two fields of the header.
    """
    given = {"body_length": "at", "sequence": "sequence", **type_and_id}
    fields = [given[each.name] for each in framing.header if each.name != "flags"]
    yield f"@p@_put_header({', '.join([frame, *fields])});"
    if framing.check_size:
        yield f"at = @p@_put_check({frame}, at, version);"
    if framing.kind == "cobs":
        yield "at = @p@_stuff(out, frame, at);"
    yield "return (size_t)(at - out);"


def _lines(statements: Iterable[str]) -> str:
    return "".join(f"\t{line}\n" for line in statements)


def _frame_size(message: Message) -> Iterator[str]:
    """Yield the C statements that add the sizes of a message's fields to the variable `size`."""
    for later, run in _by_version(message):
        fields = list(run)
        fixed = sum(field.min_size for field in fields)
        terms = [str(fixed)] if fixed else []
        terms += [f"message->{field.c_name}.size" for field in fields if not field.fixed]
        if terms:
            yield from [f"if (version >= {later})"] if later else []
            yield f"{chr(9) if later else ''}size += {' + '.join(terms)};"


def _refusals(message: Message) -> Iterator[str]:
    """Yield the C statements that return a fault if a message is invalid."""
    if message.since > 1:
        yield from values.refuse_if(f"version < {message.since}", "unknown_type")
    if message.id == "required":
        yield from values.refuse_if("id == 0", "bad_id")
    for field in message.visible:
        there, value = "", f"message->{field.c_name}"
        if message.is_later(field):
            there = f"version >= {field.since}"
            differs = values.differs(field.type, value, field.default)
            yield from values.refuse_if(f"version < {field.since} && {differs}", "trailing_bytes")
        yield from values.refusals(field.type, value, there)


def _by_version(message: Message) -> Iterator[tuple[int, Iterator[Field]]]:
    """Yield groups of consecutive fields that the same protocol version added, with that version.

    The version is 0 for fields that every version of the message has.
    """
    return itertools.groupby(
        message.fields, lambda field: field.since if message.is_later(field) else 0
    )


def _encode_steps(message: Message) -> Iterator[str]:
    for later, run in _by_version(message):
        lines = [line for field in run for line in _encode_field(field)]
        yield from [f"if (version >= {later}) {{"] if later else []
        yield from (f"\t{line}" if later else line for line in lines)
        yield from ["}"] if later else []


def _encode_field(field: Field) -> Iterator[str]:
    if field.equals is None:
        return values.put(field.type, f"message->{field.c_name}")
    return values.put(field.type, wire_bits(field, field.equals))

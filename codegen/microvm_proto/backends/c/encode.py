"""The functions of the C header that check a message and encode it."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator, Mapping

from microvm_proto.backends.c.text import boolean, comment, is_known, literal, wire_bits
from microvm_proto.framing import DELIMITER, Framing
from microvm_proto.schema import Message
from microvm_proto.types import INTEGERS, ByteList, Bytes, Enum, Field, Integer, Tail


def check(name: str, message: Message, framing: Framing) -> str:
    """Write the function that tells whether a message can be sent, by the decoders' rules."""
    parameters = ["uint32_t version", *own_parameters(name, message, framing)]
    lines = [line for refusal in _refusals(message) for line in refusal]
    text = "\n".join(lines)
    # A parameter is used where its name stands, but not as that of a field.
    unused = [n for n in map(_name, parameters) if not re.search(rf"(?<!->)\b{n}\b", text)]
    lines[:0] = [f"(void){parameter};" for parameter in unused]
    if "fault = " in text:
        lines.insert(0, "enum @p@_fault fault;\n")
    about = (
        f"What a decoder would say of the frame: {name.upper()}_FAULT_NONE, or why the message is "
        "not sent."
    )
    head = f"static inline enum @p@_fault @p@_check_{message.name}({', '.join(parameters)})"
    return f"{comment(about)}{head}\n{{\n{_lines(lines)}\treturn @P@_FAULT_NONE;\n}}"


def own_parameters(name: str, message: Message, framing: Framing) -> list[str]:
    """Return the parameters of an encoder that depend on the message."""
    parameters = [f"uint{8 * framing.id}_t id"] if message.id != "none" else []
    if message.visible:
        parameters.append(f"const struct {name}_{message.name} *message")
    return parameters


def _name(parameter: str) -> str:
    """Return the name in a declaration such as `const struct p_ping *message`."""
    return parameter.rsplit(maxsplit=1)[-1].lstrip("*")


def encode_message(name: str, message: Message, framing: Framing) -> str:
    """Write the function that encodes one message."""
    given = ["uint32_t version", *own_parameters(name, message, framing)]
    arguments = ", ".join(map(_name, given))
    check = f"{name}_check_{message.name}"
    about = (
        f"Writes a frame into `out`, which has so much room, and returns its size; 0 where {check} "
        "finds a fault, or the frame does not fit."
    )
    given[1:1] = ["uint8_t sequence"] if framing.sequence else []
    parameters = ", ".join(["uint8_t *out", "size_t room", *given])
    size = f"@P@_HEADER_SIZE{' + @P@_CHECK_SIZE' if framing.check_size else ''}"
    frame, place = "out", ""
    if framing.kind == "cobs":
        # Stuffing moves the frame to the front of its room.
        stuffing = framing.stuffing(message.max_body)
        size, frame = f"{size} + {stuffing}", "frame"
        place = f"\tuint8_t *frame = out + {stuffing - len(DELIMITER)};\n"
    header = {
        "type": f"@P@_TYPE_{message.name.upper()}",
        "id": "id" if message.id != "none" else "0",
    }
    seed = _seed(message) if framing.check_size else ""
    return f"""{comment(about)}static inline size_t @p@_encode_{message.name}({parameters})
{{
\tuint32_t size = {size};

\tif ({check}({arguments}))
\t\treturn 0;
{_lines(_frame_size(message))}\tif (size > room)
\t\treturn 0;
{place}\tuint8_t *at = {frame} + @P@_HEADER_SIZE;
{_lines(_encode_steps(message))}{_lines(finish(framing, frame, header, seed))}}}"""


def finish(framing: Framing, frame: str, header: Mapping[str, str], seed: str) -> Iterator[str]:
    """Yield the statements that make a frame of a body, which ends `at`, and return its size.

    :param header: what its fields are, but the length and the sequence.
    """
    values = {"body_length": "at", "sequence": "sequence", **header}
    fields = [values[each.name] for each in framing.header if each.name != "flags"]
    yield f"@p@_put_header({', '.join([frame, *fields])});"
    if framing.check_size:
        yield f"at = @p@_put_check({frame}, at, {seed});"
    if framing.kind == "cobs":
        yield "at = @p@_stuff(out, frame, at);"
    yield "return (size_t)(at - out);"


def _seed(message: Message) -> str:
    """Write the seed of a message's check in the version spoken."""
    *older, newest = message.seeds
    text = f"{newest:#x}"
    for since, seed in zip(message.versions[:0:-1], reversed(older), strict=True):
        text = f"version < {since} ? {seed:#x} : {text}"
    return text


def _lines(statements: Iterable[str]) -> str:
    return "".join(f"\t{line}\n" for line in statements)


def _frame_size(message: Message) -> Iterator[str]:
    """Yield the statements that add up the size of a frame."""
    for later, run in _by_version(message):
        fields = list(run)
        fixed = sum(field.min_size for field in fields)
        terms = [str(fixed)] if fixed else []
        terms += [f"message->{field.name}.size" for field in fields if not field.fixed]
        if terms:
            yield from [f"if (version >= {later})"] if later else []
            yield f"{chr(9) if later else ''}size += {' + '.join(terms)};"


def _refusals(message: Message) -> Iterator[list[str]]:
    """Yield the statements that return a fault, in the order in which decoders check."""
    if message.since > 1:
        yield _refuse_if(f"version < {message.since}", "unknown_type")
    if message.id == "required":
        yield _refuse_if("id == 0", "bad_id")
    for field in message.visible:
        there = ""
        if message.is_later(field):
            there = f"version >= {field.since}"
            yield _refuse_if(f"version < {field.since} && {_differs(field)}", "trailing_bytes")
        yield from _refused_values(field, there)


def _differs(field: Field) -> str:
    """Write the condition that a field is not its default, which older versions imply."""
    value = f"message->{field.name}"
    match field.type:
        case Bytes() | Tail():
            return f"{value}.size != 0"
        case ByteList():
            return f"({value}.count != 0 || {value}.size != 0)"
        case _:
            return f"{value} != {literal(field.default)}"


def _refused_values(field: Field, there: str) -> Iterator[list[str]]:
    """Yield the statements that return the faults of a field's value.

    :param there: the condition under which the field is in the frame; empty: always.
    """
    value, condition = f"message->{field.name}", f"{there} && " if there else ""
    match field.type:
        case Enum(closed=True) as enum:
            known = is_known(enum, field).replace(" || ", " ||\n\t\t")
            yield _refuse_if(f"{condition}!({known})", "unknown_value")
        case Bytes(maximum=maximum, nul=False):
            yield _refuse_by(f"bytes(&{value}, {maximum})", there)
        # Compilers complain about a comparison that is never true.
        case Bytes(maximum=maximum) | Tail(maximum=maximum) if maximum < INTEGERS["u32"].maximum:
            yield _refuse_if(f"{condition}{value}.size > {maximum}", "too_long")
        case ByteList(max_items=items, max_item=item, max_total=total, nul=nul):
            yield _refuse_by(f"list(&{value}, {items}, {item}, {total}, {boolean(nul)})", there)


def _refuse_if(condition: str, fault: str) -> list[str]:
    return [f"if ({condition})", f"\treturn @P@_FAULT_{fault.upper()};"]


def _refuse_by(check: str, there: str) -> list[str]:
    otherwise = f"{there} ? " if there else ""
    instead = " : @P@_FAULT_NONE" if there else ""
    return [f"fault = {otherwise}@p@_check_{check}{instead};", "if (fault)", "\treturn fault;"]


def _by_version(message: Message) -> Iterator[tuple[int, Iterator[Field]]]:
    """Yield runs of fields, each with the version that brought them; 0 for what is always there."""
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
    value = f"message->{field.name}" if field.equals is None else wire_bits(field, field.equals)
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

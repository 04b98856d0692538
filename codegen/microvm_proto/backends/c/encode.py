"""Generate the C functions that check a message and encode it."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping

from microvm_proto.backends.c import values
from microvm_proto.backends.c.text import comment, signature, uses, wire_bits
from microvm_proto.framing import DELIMITER, Framing
from microvm_proto.schema import Message
from microvm_proto.types import Field


def check(name: str, message: Message, framing: Framing) -> str:
    """Generate the C function that finds the fault for which a decoder would refuse a message.

    The C function that encodes the message calls it first, so that no invalid message is sent.
    """
    lines = [*_refusals(message)]
    text = "\n".join(lines)
    given = map(_name, _parameters(name, message, framing))
    unused = [parameter for parameter in given if not uses(parameter, text)]
    lines[:0] = [f"(void){parameter};" for parameter in unused]
    if "fault = " in text:
        lines.insert(0, "enum @p@_fault fault;\n")
    about = (
        f"Returns {name.upper()}_FAULT_NONE if the message is valid, or else the fault that a "
        "decoder would find in its frame."
    )
    head = check_head(name, message, framing)
    return f"{comment(about)}{head}\n{{\n{_lines(lines)}\treturn @P@_FAULT_NONE;\n}}"


def check_head(name: str, message: Message, framing: Framing) -> str:
    """Return the signature of the function that :func:`check` generates."""
    head = f"static inline enum {name}_fault {name}_check_{message.c_name}"
    return signature(head, _parameters(name, message, framing))


def encode_head(name: str, message: Message, framing: Framing) -> str:
    """Return the signature of the function that :func:`encode_message` generates."""
    version, *own = _parameters(name, message, framing)
    sequence = ["uint8_t sequence"] if framing.sequence else []
    head = f"static inline size_t {name}_encode_{message.c_name}"
    return signature(head, ["uint8_t *out", "size_t room", version, *sequence, *own])


def _parameters(name: str, message: Message, framing: Framing) -> list[str]:
    parameters = ["uint32_t version"]
    parameters += [f"uint{8 * framing.id}_t id"] if message.id != "none" else []
    parameters += [f"const struct {name}_{message.c_name} *message"] if message.visible else []
    return parameters


def _name(parameter: str) -> str:
    """Return the name of a C parameter from its declaration: `message` for `struct p *message`."""
    return parameter.rsplit(maxsplit=1)[-1].lstrip("*")


def encode_message(name: str, message: Message, framing: Framing) -> str:
    """Generate the C function that encodes one message."""
    arguments = ", ".join(map(_name, _parameters(name, message, framing)))
    check = f"{name}_check_{message.c_name}"
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
    return f"""{comment(about)}{encode_head(name, message, framing)}
{{
\tuint32_t size = {size};

\tif ({check}({arguments}))
\t\treturn 0;
{_lines(_frame_size(message))}\tif (size > room)
\t\treturn 0;
{place}\tuint8_t *at = {frame} + @P@_HEADER_SIZE;
{_lines(_encode_steps(message))}{_lines(finish(framing, frame, header))}}}"""


def finish(framing: Framing, frame: str, header: Mapping[str, str]) -> Iterator[str]:
    """Yield the C statements that add header, checksum and COBS encoding to a frame.

    These statements expect that the C pointer `at` points to the end of the body. The last one
    returns the size of the frame from the generated function.

    :param frame: C expression for the address at which the frame begins.
    :param header: C expressions for the fields of the header, except for length and sequence
        number.
    """
    given = {"body_length": "at", "sequence": "sequence", **header}
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
    """Yield the C statements that add the size of each field of a message to `size`."""
    for later, run in _by_version(message):
        fields = list(run)
        fixed = sum(field.min_size for field in fields)
        terms = [str(fixed)] if fixed else []
        terms += [f"message->{field.c_name}.size" for field in fields if not field.fixed]
        if terms:
            yield from [f"if (version >= {later})"] if later else []
            yield f"{chr(9) if later else ''}size += {' + '.join(terms)};"


def _refusals(message: Message) -> Iterator[str]:
    """Yield the C statements that return a fault if a message is invalid.

    The statements check the values in the same order as a decoder.
    """
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
    """Yield groups of consecutive fields, each with the protocol version that added the fields.

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

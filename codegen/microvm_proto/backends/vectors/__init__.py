"""Generate test vectors for decoders: valid and invalid frames, in JSON."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias

from microvm_proto.backends.vectors.conversations import FORMAT as FORMAT_OF_CONVERSATIONS
from microvm_proto.backends.vectors.conversations import conversations
from microvm_proto.backends.vectors.faulty import faulty_fields
from microvm_proto.backends.vectors.notation import compact
from microvm_proto.backends.vectors.streams import FORMAT, flipped, streams
from microvm_proto.backends.vectors.values import (
    MAX_FILLED,
    combined,
    is_huge,
    is_large,
    least_bytes,
    values_of,
)
from microvm_proto.faults import FAULTS
from microvm_proto.frame import Malformed, Value, examine, pack, write
from microvm_proto.schema import Message, Output, Schema

_Candidate: TypeAlias = tuple[str, str, str, bytes]
"""Name of a vector, name of the fault that it should have, name of its sender, and the frame."""

_FORMAT = [
    "A decoder must decode each valid frame to the given message, id and fields, and an encoder "
    "must encode them to the same bytes. Constants are not among the fields.",
    "A decoder must reject each invalid frame with the given fault and its code, the offset from "
    "the start of the frame, and the number of the field, counted from 1. The number is 0 for the "
    "header and for trailing bytes. The decoder must not wait for more bytes than are given.",
    "Bytes are hexadecimal digits in groups, with spaces between the groups. The group xx*N stands "
    "for N bytes xx.",
    "Numbers have up to 64 bits. Floats and flags are given as their bits, a bool as 0 or 1, and "
    "an absent value as the number that stands for it. Text is given as its bytes, like an array "
    "of u8. Any other list or array is a list of [item, number of consecutive repetitions]. A "
    "struct is an object.",
]
_SEQUENCE = "The sequence number of each frame is 0."


def emit(schema: Schema, output: Output) -> dict[str, str]:
    """Generate the JSON file of test vectors, with one vector on each line."""
    head = {
        "source": f"Generated from {schema.source} by `microvm-proto gen`.",
        "format": [*_FORMAT, *_format_of(schema)],
        "protocol": schema.name,
        "version": schema.version,
        "digest": f"{schema.digest:016x}",
    }
    parts = [f'"{key}": {json.dumps(value)}' for key, value in head.items()]
    sections: dict[str, Iterator[dict[str, Any]]] = {
        "valid": _valid(schema),
        "invalid": _invalid(schema),
    }
    if schema.framing.resynchronises:
        sections |= {"streams": streams(schema), "flipped": flipped(schema)}
    if schema.conversations:
        sections["conversations"] = conversations(schema)
    for name, vectors in sections.items():
        lines = ",\n".join(json.dumps(vector) for vector in vectors)
        parts.append(f'"{name}": [\n{lines}\n]' if lines else f'"{name}": []')
    return {output.path.name: "{\n" + ",\n".join(parts) + "\n}\n"}


def _format_of(schema: Schema) -> list[str]:
    numbered = [_SEQUENCE] if schema.framing.sequence else []
    damaged = FORMAT if schema.framing.resynchronises else []
    return [*numbered, *damaged, *(FORMAT_OF_CONVERSATIONS if schema.conversations else [])]


def _tested(schema: Schema) -> list[Message]:
    return [message for message in schema.messages if not is_huge(message.fields)]


def _valid(schema: Schema) -> Iterator[dict[str, Any]]:
    for message in _tested(schema):
        seen: set[bytes] = set()
        for label, id_, values in _variations(message, schema.framing.max_id):
            frame = write(schema, message.number, id_, _body(message, values))
            if frame not in seen:
                seen.add(frame)
                yield {
                    "name": f"{message.name}{label}",
                    "sender": _sender(schema, message),
                    "frame": compact(schema.framing.wire(frame)),
                    "message": message.name,
                    "id": id_,
                    "fields": {name: _decoded(value) for name, value in values.items()},
                }


def _variations(message: Message, max_id: int) -> Iterator[tuple[str, int, dict[str, Value]]]:
    """Yield the name, the id and the field values of each variation of a message to test.

    The highest id is `max_id`. In two variations, all fields have their lowest or their highest
    values. In each other variation, one field has another value, and the other fields have their
    lowest values.
    """
    choices = {field.name: values_of(field) for field in message.fields if field.equals is None}
    least = {name: next(iter(values.values())) for name, values in choices.items()}
    most = {name: list(values.values())[-1] for name, values in choices.items()}
    low, high = _least_id(message), 0 if message.id == "none" else max_id
    yield ", the least", low, least
    yield ", the most", high, most
    yield ", the highest id", high, least
    if is_large(message.fields):
        yield from ((f", {label}", low, values) for label, values in combined(choices))
        return
    for name, values in choices.items():
        for label, value in values.items():
            yield f".{name}, {label}", low, least | {name: value}


def _invalid(schema: Schema) -> Iterator[dict[str, Any]]:
    candidates = itertools.chain(
        _unknown_types(schema), *(_faulty_frames(schema, message) for message in _tested(schema))
    )
    codes = {fault.name: fault.number for fault in FAULTS}
    for name, fault, sender, frame in candidates:
        _, found = examine(schema, frame, sender)
        # Skip the frame if a decoder must report another fault first. For example, a tail, which is
        # the rest of the body, can make the whole body too long. Then a decoder reports the fault
        # of the body, and not that of the tail.
        if isinstance(found, Malformed) and found.fault.name == fault:
            yield {
                "name": f"{name}: {fault}",
                "sender": sender,
                "frame": compact(schema.framing.wire(frame)),
                "fault": fault,
                "code": codes[fault],
                "offset": found.offset,
                "field": found.number,
            }


def _unknown_types(schema: Schema) -> Iterator[_Candidate]:
    known, framing = {message.number for message in schema.messages}, schema.framing
    unused = [number for number in range(framing.max_type + 1) if number not in known]
    for number in sorted({unused[0], unused[min(1, len(unused) - 1)], unused[-1]}):
        for sender in schema.ends:
            yield (
                f"type {number} by {sender}",
                "unknown_type",
                sender,
                write(schema, number, 0, b""),
            )
            # This frame has several faults. All decoders check for an unknown type first, so they
            # must report that the type is unknown.
            id_, length = min(1, framing.max_id), framing.max_length
            all_wrong = write(schema, number, id_, b"", flags=1, length=length)
            yield f"type {number} by {sender}, and other faults", "unknown_type", sender, all_wrong


def _faulty_frames(schema: Schema, message: Message) -> Iterator[_Candidate]:
    name, number, sender = message.name, message.number, _sender(schema, message)
    body, id_ = _body(message, {}), _least_id(message)
    right = write(schema, number, id_, body)
    yield from _faulty_headers(schema, message, right, body)
    if schema.framing.check_size:
        yield name, "bad_check", sender, right[:-1] + bytes([right[-1] ^ 1])
    if schema.framing.kind != "stream":
        yield name, "truncated", sender, right[: schema.framing.bare_size(0) - 1]
    for label, fault, data in faulty_fields(message.fields):
        yield f"{name}.{label}", fault, sender, write(schema, number, id_, data)
    yield f"{name}, one byte", "trailing_bytes", sender, write(schema, number, id_, body + b"\0")
    again = write(schema, number, id_, body + right)
    yield f"{name}, another frame", "trailing_bytes", sender, again


def _faulty_headers(
    schema: Schema, message: Message, valid: bytes, body: bytes
) -> Iterator[_Candidate]:
    """Yield variants of the frame `valid`, which contains `body`, with a fault in the header."""
    name, number, sender = message.name, message.number, _sender(schema, message)
    other = next(end for end in schema.ends if end != sender)
    framing, id_, over = schema.framing, _least_id(message), message.max_body + 1
    wrong_id = 0 if message.id == "required" else min(1, framing.max_id)
    too_long = min(over, framing.max_length)

    yield name, "bad_direction", other, valid
    all_wrong = write(schema, number, wrong_id, b"", flags=1, length=too_long)
    yield f"{name}, and other faults", "bad_direction", other, all_wrong
    if "flags" in framing.features:
        for flags in 1, 1 << (8 * framing.type - 1):
            frame = write(schema, number, id_, body, flags=flags)
            yield f"{name}, flags {flags}", "reserved_flags", sender, frame
    yield f"{name}, and other faults", "reserved_flags", sender, all_wrong
    for wrong in sorted({wrong_id, wrong_id * framing.max_id}):
        yield f"{name}, id {wrong}", "bad_id", sender, write(schema, number, wrong, body)
    all_wrong = write(schema, number, wrong_id, b"", length=too_long)
    yield f"{name}, and length", "bad_id", sender, all_wrong
    if framing.kind == "stream":
        for length in sorted({too_long, framing.max_length}):
            frame = write(schema, number, id_, b"", length=length)
            yield f"{name}, {length} bytes", "body_too_long", sender, frame
    elif over <= MAX_FILLED:
        frame = write(schema, number, id_, bytes(over))
        yield f"{name}, {over} bytes", "body_too_long", sender, frame


def _sender(schema: Schema, message: Message) -> str:
    return schema.ends[0] if message.sender == "both" else message.sender


def _least_id(message: Message) -> int:
    return 1 if message.id == "required" else 0


def _body(message: Message, values: dict[str, Value]) -> bytes:
    """Return the body of a message with these values; each other field has its lowest value."""
    return b"".join(
        pack(field.type, values[field.name]) if field.name in values else least_bytes(field)
        for field in message.fields
    )


def _decoded(value: Value) -> Any:
    match value:
        case int():
            return value
        case bytes():
            return compact(value)
        case tuple():
            return [[_decoded(item), len(list(again))] for item, again in itertools.groupby(value)]
        case Mapping():
            return {name: _decoded(each) for name, each in value.items()}

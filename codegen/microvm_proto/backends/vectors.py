"""The backend `vectors`: valid and invalid frames for testing a decoder, in JSON."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias

from microvm_proto.faults import FAULTS
from microvm_proto.frame import Malformed, Value, pack, read, write
from microvm_proto.schema import Message, Output, Schema
from microvm_proto.types import INTEGERS, ByteList, Bytes, Enum, Field, Integer, Tail, Type

_U32 = INTEGERS["u32"]
_RUN = re.compile(rb"(.)\1{15}", re.DOTALL)
_MAX_ITEMS = 1 << 16
"""A list that can hold more is not filled."""

_MAX_FIELDS = 32
"""A message with more has less for each of them: all of it would grow with the square."""

_Candidate: TypeAlias = tuple[str, str, str, bytes]
"""A name, the fault that is meant, the sender and the frame."""

_FaultyField: TypeAlias = tuple[str, str, bytes]
"""The text of what is wrong with a field, the fault, and the field's bytes."""

_FORMAT = [
    "Each valid frame is decoded to its message, id and fields, and encoded to the same bytes.",
    "Each invalid one is refused with its code, at its offset from the start of the frame, in its "
    "field, counted from 1; 0 is the header, or trailing bytes. Its bytes suffice for that.",
    "Bytes are chunks of hexadecimal digits, spaces between them; xx*N is the byte xx, N times.",
    "Integers are numbers of up to 64 bits; a list is a list of [item, how many times in a row].",
]


def emit(schema: Schema, output: Output) -> dict[str, str]:
    """Write the vectors, which are one file with one vector a line."""
    head = {
        "source": f"Generated from {schema.source} by `microvm-proto gen`.",
        "format": _FORMAT,
        "protocol": schema.name,
        "version": schema.version,
        "digest": f"{schema.digest:016x}",
    }
    parts = [f'"{key}": {json.dumps(value)}' for key, value in head.items()]
    for name, vectors in ("valid", _valid(schema)), ("invalid", _invalid(schema)):
        lines = ",\n".join(json.dumps(vector) for vector in vectors)
        parts.append(f'"{name}": [\n{lines}\n]' if lines else f'"{name}": []')
    return {output.path.name: "{\n" + ",\n".join(parts) + "\n}\n"}


def _valid(schema: Schema) -> Iterator[dict[str, Any]]:
    for message in schema.messages:
        seen: set[bytes] = set()
        for label, id_, values in _variations(message):
            frame = write(message.number, id_, _body(message, values))
            if frame not in seen:
                seen.add(frame)
                yield {
                    "name": f"{message.name}{label}",
                    "sender": _sender(schema, message),
                    "frame": _compact(frame),
                    "message": message.name,
                    "id": id_,
                    "fields": {name: _decoded(value) for name, value in values.items()},
                }


def _variations(message: Message) -> Iterator[tuple[str, int, dict[str, Value]]]:
    """Yield a name, an id and values: the least, the most, and each value beside the least."""
    choices = {field.name: _values(field.type) for field in message.fields if field.equals is None}
    least = {name: next(iter(values.values())) for name, values in choices.items()}
    most = {name: list(values.values())[-1] for name, values in choices.items()}
    low, high = _least_id(message), 0 if message.id == "none" else _U32.maximum
    yield ", the least", low, least
    yield ", the most", high, most
    yield ", the highest id", high, least
    if len(message.fields) > _MAX_FIELDS:
        yield from ((label, low, values) for label, values in _combined(choices))
        return
    for name, values in choices.items():
        for label, value in values.items():
            yield f".{name}, {label}", low, least | {name: value}


def _combined(choices: dict[str, dict[str, Value]]) -> Iterator[tuple[str, dict[str, Value]]]:
    """Yield values of all fields, each value at least once, in as few messages as it takes."""
    columns = {name: list(values.values()) for name, values in choices.items()}
    for row in range(max(map(len, columns.values()), default=0)):
        values = {name: values[row % len(values)] for name, values in columns.items()}
        yield f", value {row + 1} of each field", values


def _values(kind: Type) -> dict[str, Value]:
    """Return the values to try, by name; the least comes first and the most last."""
    match kind:
        case Integer(size=size, minimum=low, maximum=high):
            counted = int.from_bytes(range(1, size + 1), "little")
            edges = {"smallest": low, "-1": -1} if low else {"smallest": low}
            return {**edges, "bytes in order": counted, "largest": high}
        case Enum(base=base, closed=closed, values=values):
            known: dict[str, Value] = {value.name: value.number for value in values}
            return known if closed else known | {f"unknown {n}": n for n in _unknown(kind, base)}
        case Bytes(maximum=maximum, nul=nul):
            return _octets(maximum, nul=nul)
        case Tail(maximum=maximum):
            return _octets(maximum, nul=True)
        case ByteList():
            return dict(_lists(kind))
        case _:
            raise NotImplementedError


def _unknown(kind: Enum, base: Integer) -> list[int]:
    """Return numbers that an enum does not name: next to those that it does, and the limits."""
    known = {value.number for value in kind.values}
    near = {number + step for number in known for step in (-1, 1)}
    inside = {number for number in near if base.minimum <= number <= base.maximum}
    return sorted((inside | {base.minimum, base.maximum}) - known)


def _octets(maximum: int, *, nul: bool) -> dict[str, Value]:
    every = bytes(range(0 if nul else 1, 256))[:maximum]
    return {"empty": b"", "one byte": b"a", "every byte": every, "longest": b"a" * maximum}


def _lists(kind: ByteList) -> Iterator[tuple[str, Value]]:
    room = kind.max_total
    yield "empty", ()
    if room >= _U32.size:
        yield "one empty item", (b"",)
        yield "longest item", (b"a" * min(kind.max_item, room - _U32.size),)
    most = min(kind.max_items, room // _U32.size)
    if most <= _MAX_ITEMS:
        yield "most items", (b"",) * most
    full = _full(kind)
    if full:
        yield "longest", full


def _full(kind: ByteList) -> tuple[bytes, ...]:
    """Return items as long in all as they may be, or as near as number and lengths allow."""
    longest = min(kind.max_item, max(0, kind.max_total - _U32.size))
    whole, rest = divmod(kind.max_total, _U32.size + longest)
    if whole > _MAX_ITEMS:
        return ()
    sizes = [longest] * whole
    if 0 < rest < _U32.size and whole and longest >= _U32.size - rest:
        sizes[-1] -= _U32.size - rest
        rest = _U32.size
    if rest >= _U32.size:
        sizes.append(rest - _U32.size)
    return tuple(b"a" * size for size in sizes[: kind.max_items])


def _invalid(schema: Schema) -> Iterator[dict[str, Any]]:
    candidates = itertools.chain(
        _unknown_types(schema), *(_faulty_frames(schema, message) for message in schema.messages)
    )
    codes = {fault.name: fault.number for fault in FAULTS}
    for name, fault, sender, frame in candidates:
        found = _fault(schema, frame, sender)
        # Another fault can come first, as when a tail above its bound is a body above its own.
        if found is not None and found.fault.name == fault:
            yield {
                "name": f"{name}: {fault}",
                "sender": sender,
                "frame": _compact(frame),
                "fault": fault,
                "code": codes[fault],
                "offset": found.offset,
                "field": found.number,
            }


def _fault(schema: Schema, frame: bytes, sender: str) -> Malformed | None:
    try:
        for _ in read(schema, frame, sender):
            pass
    except Malformed as error:
        return error
    return None


def _unknown_types(schema: Schema) -> Iterator[_Candidate]:
    known = {message.number for message in schema.messages}
    unused = [number for number in range(INTEGERS["u16"].maximum + 1) if number not in known]
    for number in sorted({unused[0], unused[min(1, len(unused) - 1)], unused[-1]}):
        for sender in schema.ends:
            yield f"type {number} by {sender}", "unknown_type", sender, write(number, 0, b"")
            # The first of many faults counts.
            all_wrong = write(number, 1, b"", flags=1, length=_U32.maximum)
            yield f"type {number} by {sender}, and all else", "unknown_type", sender, all_wrong


def _faulty_frames(schema: Schema, message: Message) -> Iterator[_Candidate]:
    name, number, sender = message.name, message.number, _sender(schema, message)
    other = next(end for end in schema.ends if end != sender)
    body, id_ = _body(message, {}), _least_id(message)
    wrong_id = 0 if message.id == "required" else 1
    over = message.max_body + 1

    yield name, "bad_direction", other, write(number, id_, body)
    all_wrong = write(number, wrong_id, b"", flags=1, length=over)
    yield f"{name}, and all else", "bad_direction", other, all_wrong
    for flags in 1, 1 << 15:
        frame = write(number, id_, body, flags=flags)
        yield f"{name}, flags {flags}", "reserved_flags", sender, frame
    yield f"{name}, and all else", "reserved_flags", sender, all_wrong
    for wrong in sorted({wrong_id, wrong_id * _U32.maximum}):
        yield f"{name}, id {wrong}", "bad_id", sender, write(number, wrong, body)
    yield f"{name}, and length", "bad_id", sender, write(number, wrong_id, b"", length=over)
    for length in over, _U32.maximum:
        frame = write(number, id_, b"", length=length)
        yield f"{name}, {length} bytes", "body_too_long", sender, frame

    least = [_least(field) for field in message.fields]
    for at in _fields_to_break(message):
        field = message.fields[at]
        before, after = b"".join(least[:at]), b"".join(least[at + 1 :])
        for label, fault, data in _faulty_fields(field):
            # Nothing behind it: the fault comes first, and the body stays within its bound.
            ends = fault in ("truncated", "total_too_long")
            frame = write(number, id_, before + data + (b"" if ends else after))
            yield f"{name}.{field.name}, {label}", fault, sender, frame
    yield f"{name}, one byte", "trailing_bytes", sender, write(number, id_, body + b"\0")
    again = body + write(number, id_, body)
    yield f"{name}, another frame", "trailing_bytes", sender, write(number, id_, again)


def _fields_to_break(message: Message) -> Iterator[int]:
    """Yield the fields to make faulty: all, or the first of each kind where there are many."""
    kinds: set[tuple[object, ...]] = set()
    for at, field in enumerate(message.fields):
        kind: tuple[object, ...] = (type(field.type), field.equals is None)
        match field.type:
            case Enum(closed=rule) | Bytes(nul=rule) | ByteList(nul=rule):
                kind = (*kind, rule)
        if kind not in kinds or len(message.fields) <= _MAX_FIELDS:
            kinds.add(kind)
            yield at


def _faulty_fields(field: Field) -> Iterator[_FaultyField]:
    match field.type:
        case Integer(size=size):
            yield from _cut(bytes(size))
            if field.equals is not None:
                right = pack(field.type, field.equals)
                yield "lowest bit", "unknown_value", bytes([right[0] ^ 1]) + right[1:]
                yield "highest bit", "unknown_value", right[:-1] + bytes([right[-1] ^ 0x80])
        case Enum(base=base, closed=closed):
            yield from _cut(bytes(base.size))
            for number in _unknown(field.type, base) if closed else []:
                yield str(number), "unknown_value", pack(base, number)
        case Bytes(maximum=maximum, nul=nul):
            yield from _faulty_octets(maximum, nul=nul)
        case ByteList():
            yield from _faulty_lists(field.type)
        case Tail(maximum=maximum):
            yield f"{maximum + 1} bytes", "too_long", b"a" * (maximum + 1)


def _cut(whole: bytes) -> Iterator[_FaultyField]:
    """Yield a value that ends too early, or is not there."""
    for size in sorted({0, len(whole) - 1}):
        yield f"{size} of {len(whole)} bytes", "truncated", whole[:size]


def _faulty_octets(maximum: int, *, nul: bool) -> Iterator[_FaultyField]:
    yield from ((f"length, {label}", fault, data) for label, fault, data in _cut(bytes(_U32.size)))
    for size in sorted({1, maximum}):
        yield from _shortened(size)
    for size in sorted({maximum + 1, _U32.maximum}):
        yield f"length {size}", "too_long", pack(_U32, size)
    yield f"{maximum + 1} bytes", "too_long", pack(Bytes(maximum, nul), b"a" * (maximum + 1))
    if not nul:
        yield "1 of 2 bytes, a NUL", "truncated", pack(_U32, 2) + b"\0"
        for value in sorted({b"\0", b"\0".ljust(maximum, b"a"), b"\0".rjust(maximum, b"a")}):
            label = f"NUL at {value.index(0)} of {len(value)}"
            yield label, "embedded_nul", pack(Bytes(maximum, nul), value)


def _shortened(size: int) -> Iterator[_FaultyField]:
    yield f"{size - 1} of {size} bytes", "truncated", pack(_U32, size) + b"a" * (size - 1)


def _faulty_lists(kind: ByteList) -> Iterator[_FaultyField]:
    yield from ((f"count, {label}", fault, data) for label, fault, data in _cut(bytes(_U32.size)))
    for count in sorted({kind.max_items + 1, _U32.maximum}):
        if count <= _U32.maximum:
            yield f"{count} items", "too_many", pack(_U32, count)
    # An item is as faulty alone as behind another one.
    for before in (), (b"a",):
        start = pack(_U32, len(before) + 1) + pack(kind, before)[_U32.size :]
        for label, fault, data in _faulty_octets(kind.max_item, nul=kind.nul):
            yield f"item {len(before)}, {label}", fault, start + data
    full = _full(kind)
    for more in b"", b"a" * kind.max_item:
        yield f"{len(more)} bytes more", "total_too_long", pack(kind, (*full, more))
    # Only a valid item can be one too many.
    ahead = pack(_U32, len(full) + 1) + pack(kind, full)[_U32.size :]
    last = {fault: data for _, fault, data in _faulty_octets(kind.max_item, nul=kind.nul)}
    for fault, data in last.items() if full else ():
        yield "behind as much as there may be", fault, ahead + data


def _sender(schema: Schema, message: Message) -> str:
    return schema.ends[0] if message.sender == "both" else message.sender


def _least_id(message: Message) -> int:
    return 1 if message.id == "required" else 0


def _least(field: Field) -> bytes:
    if field.equals is not None:
        return pack(field.type, field.equals)
    return pack(field.type, next(iter(_values(field.type).values())))


def _body(message: Message, values: dict[str, Value]) -> bytes:
    """Return the body with these values, and the least where there is none."""
    return b"".join(
        pack(field.type, values[field.name]) if field.name in values else _least(field)
        for field in message.fields
    )


def _decoded(value: Value) -> Any:
    match value:
        case int():
            return value
        case bytes():
            return _compact(value)
        case tuple():
            return [[_decoded(item), len(list(again))] for item, again in itertools.groupby(value)]
        case Mapping():
            return {name: _decoded(each) for name, each in value.items()}


def _compact(data: bytes) -> str:
    chunks: list[str] = []
    at = 0
    while run := _RUN.search(data, at):
        end = _end_of_run(data, run.start())
        chunks += [data[at : run.start()].hex(), f"{run[1].hex()}*{end - run.start()}"]
        at = end
    return " ".join(chunk for chunk in [*chunks, data[at:].hex()] if chunk)


def _end_of_run(data: bytes, start: int) -> int:
    """Return where the run of bytes ends that are all as the one at `start`."""
    run = re.compile(re.escape(data[start : start + 1]) + b"*").match(data, start)
    return run.end() if run else start

"""A simple, slow codec of frames, which interprets the schema field by field.

Tests compare the generated codecs with this module, which does no I/O. It makes the checks in the
order of :data:`microvm_proto.faults.CHECKS`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple, TypeAlias

from microvm_proto import types
from microvm_proto.faults import FAULTS, FrameFault
from microvm_proto.schema import Message, Schema

Value: TypeAlias = "int | bytes | tuple[Value, ...] | Mapping[str, Value]"
"""A decoded value.

A float is represented by its bits, flags by an integer, a `bool` by 0 or 1, text by its UTF-8
bytes, and an array of `u8` by bytes. Other arrays and lists are tuples, and a struct is a mapping
from the names of its fields.
"""

_FAULTS = {fault.name: fault for fault in FAULTS}


class FramePart(NamedTuple):
    """A piece of a frame with its value: a field of the header or body, or an item of a field.

    A struct is split into its fields, such as `position.x`. An array, except of `u8`, is split into
    its elements, such as `samples[3]`, and a list into its count and its items.

    :ivar size: Number of bytes of the piece, including the length that precedes a value.
    :ivar number: Number of the message's field that contains the piece, from 1; 0 in the header.
    :ivar field: Innermost field that contains the piece: the field of a struct, or of the message.
    :ivar kind: Type of the value. For the count of a list, it is the type of the list.
    :ivar item: Index of the item or element in the outermost list or array; None outside of one.
    """

    offset: int
    size: int
    name: str
    value: int | bytes
    number: int = 0
    field: types.Field | None = None
    kind: types.Type | None = None
    item: int | None = None


class Malformed(Exception):
    """The frame is malformed, so every decoder must refuse it.

    :ivar expected: One line that describes the valid bytes at that offset.
    :ivar number: Number of the field with the fault, from 1; 0 for the header and for trailing
        bytes.
    """

    def __init__(
        self, fault: str, offset: int, expected: str, number: int = 0, name: str = ""
    ) -> None:
        super().__init__(f"{fault} at {offset}: {expected}")
        self.fault: FrameFault = _FAULTS[fault]
        self.offset = offset
        self.expected = expected
        self.number = number
        self.name = name


class Incomplete(Exception):
    """The data ends before the end of the frame, which needs at least `missing` more bytes."""

    def __init__(self, missing: int) -> None:
        needed = "1 more byte is" if missing == 1 else f"{missing} more bytes are"
        super().__init__(f"{needed} needed")
        self.missing = missing


def read(schema: Schema, data: bytes, sender: str | None = None) -> Iterator[FramePart]:
    """Yield the fields of the frame in `data`, each with its value, and check the frame.

    :param data: Bytes of the frame, without COBS encoding. More bytes may follow if the header
        holds the frame's length.
    :param sender: Side that has sent the frame, one of the schema's `ends`; None to accept every
        message.
    """
    framing = schema.framing
    least = framing.header_size
    if framing.kind != "stream":
        least += framing.check_size
        if len(data) < least:
            raise Malformed("truncated", len(data), f"a header and a check, {least} bytes")
    elif len(data) < least:
        raise Incomplete(least - len(data))
    header = {"body_length": len(data) - least, "flags": 0, "id": 0}
    for part, value in zip(framing.header, framing.layout.unpack_from(data), strict=True):
        header[part.name] = value
        yield FramePart(part.offset, part.size, part.name, value)
    message = _checked(schema, header, sender)
    end = framing.header_size + header["body_length"]
    if len(data) < end + framing.check_size:
        raise Incomplete(end + framing.check_size - len(data))
    if framing.check_size:
        seed = framing.seed_of(data[: end + framing.check_size])
        if seed != schema.seed:
            right = int.from_bytes(framing.seal(data[:end], schema.seed)[end:], "little")
            raise Malformed("bad_check", end, f"{right:#x}")
    cursor = _Cursor(data[:end], framing.header_size)
    for field in message.fields:
        cursor.number, cursor.name = field.number, field.name
        yield from cursor.value(field, field.type, field.name)
    if cursor.left:
        raise Malformed("trailing_bytes", cursor.offset, "the end of the body")
    if framing.check_size:
        check = int.from_bytes(data[end : end + framing.check_size], "little")
        yield FramePart(end, framing.check_size, "check", check)


def examine(
    schema: Schema, data: bytes, sender: str | None = None
) -> tuple[list[FramePart], Malformed | Incomplete | None]:
    """Return the parts of the frame in `data` before its first fault, and the fault or None."""
    parts: list[FramePart] = []
    try:
        for part in read(schema, data, sender):
            parts.append(part)
    except (Malformed, Incomplete) as fault:
        return parts, fault
    return parts, None


def _checked(schema: Schema, header: Mapping[str, int], sender: str | None) -> Message:
    """Check a frame's header, and that `sender` may send the frame; return the frame's message."""
    offset_of = schema.framing.offset
    message = message_of(schema, header["type"])
    if message is None:
        raise Malformed("unknown_type", offset_of("type"), "the type of a message")
    if sender is not None and message.sender not in (sender, "both"):
        raise Malformed("bad_direction", offset_of("type"), f"a message of the {sender}")
    if header["flags"]:
        raise Malformed("reserved_flags", offset_of("flags"), "0")
    if message.id == "required" and header["id"] == 0:
        raise Malformed("bad_id", offset_of("id"), "any id but 0")
    if message.id == "none" and header["id"] != 0:
        raise Malformed("bad_id", offset_of("id"), "0")
    if header["body_length"] > message.max_body:
        raise Malformed("body_too_long", offset_of("body_length"), f"at most {message.max_body}")
    return message


def write(
    schema: Schema,
    number: int,
    id_: int,
    body: bytes,
    *,
    flags: int = 0,
    length: int | None = None,
    sequence: int = 0,
) -> bytes:
    """Return a frame that has this header, this body and a valid checksum, without COBS encoding.

    The values are not checked, so that test vectors can contain frames that a decoder must refuse.
    """
    framing = schema.framing
    values = {
        "body_length": len(body) if length is None else length,
        "type": number,
        "flags": flags,
        "id": id_,
        "sequence": sequence,
    }
    header = framing.layout.pack(*(values[part.name] for part in framing.header))
    return framing.seal(header + body, schema.seed)


def pack(kind: types.Type, value: Value) -> bytes:
    """Encode a value of a message's field. The bounds of its type are not checked."""
    match kind, value:
        case types.Integer(size=size, signed=signed), int():
            return value.to_bytes(size, "little", signed=signed)
        case ((types.Float() | types.Bool() | types.Flags()), int()):
            return value.to_bytes(kind.size, "little")
        case types.Enum(base=base), _:
            return pack(base, value)
        case types.Struct(fields=fields), Mapping():
            return b"".join(pack(field.type, value[field.name]) for field in fields)
        case types.Array(is_octets=True), bytes():
            return value
        case types.Array(element=element), tuple():
            return b"".join(pack(element, each) for each in value)
        case ((types.Bytes(prefix=prefix) | types.Text(prefix=prefix)), bytes()):
            return pack(prefix, len(value)) + value
        case types.ByteList(prefix=prefix), tuple():
            item = types.Bytes(kind.max_item, kind.nul, prefix)
            return pack(prefix, len(value)) + b"".join(pack(item, each) for each in value)
        case types.List(element=element, prefix=prefix), tuple():
            return pack(prefix, len(value)) + b"".join(pack(element, each) for each in value)
        case types.Tail(), bytes():
            return value
    raise TypeError(f"{value!r} is not a value of {kind}")


def message_of(schema: Schema, number: int) -> Message | None:
    """Return the message whose number is `number`; None if no message has this number."""
    return next((message for message in schema.messages if message.number == number), None)


class _Cursor:
    """A position in the body of a frame. The methods read fields and values from there."""

    def __init__(self, frame: bytes, offset: int) -> None:
        self.frame = frame
        self.offset = offset
        self.number = 0
        self.name = ""

    @property
    def left(self) -> int:
        return len(self.frame) - self.offset

    def value(
        self, field: types.Field, kind: types.Type, name: str, item: int | None = None
    ) -> Iterator[FramePart]:
        """Read a value of type `kind` from `field` or from its item `item`, and yield its parts."""
        start = self.offset
        match kind:
            case types.Struct(fields=fields):
                for each in fields:
                    yield from self.value(each, each.type, f"{name}.{each.name}", item)
                return
            case types.Array(is_octets=False, element=element, count=count):
                for index in range(count):
                    outermost = index if item is None else item
                    yield from self.value(field, element, f"{name}[{index}]", outermost)
                return
            case types.ByteList() | types.List():
                yield from self.list(field, kind, name)
                return
            case types.Array(size=size):
                value: int | bytes = self.take(size)
            case types.Bytes(maximum=maximum, nul=nul):
                value = self.octets(kind.prefix, maximum, nul=nul)
            case types.Text(maximum=maximum, nul=nul):
                value = self.text(kind.prefix, maximum, nul=nul)
            case types.Tail(maximum=maximum):
                if self.left > maximum:
                    raise self.malformed("too_long", start, f"at most {maximum} bytes")
                value = self.take(self.left)
            case _:
                value = self.number_of(field, kind)
        yield FramePart(start, self.offset - start, name, value, self.number, field, kind, item)

    def number_of(self, field: types.Field, kind: types.Scalar) -> int:
        start = self.offset
        match kind:
            case types.Integer():
                value = self.integer(kind)
                if field.equals not in (None, value):
                    raise self.malformed("unknown_value", start, f"always {field.equals:#x}")
            case types.Float():
                value = self.integer(kind.bits)
                if kind.finite and value & kind.exponent == kind.exponent:
                    raise self.malformed("not_finite", start, "a finite number")
            case types.Bool():
                value = self.integer(types.INTEGERS["u8"])
                if value > 1:
                    raise self.malformed("unknown_value", start, "0 or 1")
            case types.Enum(base=base, closed=closed, members=known):
                value = self.integer(base)
                if closed and all(value != each.number for each in known):
                    names = ", ".join(f"{each.name} ({each.number})" for each in known)
                    raise self.malformed("unknown_value", start, f"one of {names}")
            case types.Flags(base=base, closed=closed, mask=mask):
                value = self.integer(base)
                if closed and value & ~mask:
                    raise self.malformed("unknown_value", start, f"only bits of {mask:#x}")
        return value

    def list(
        self, field: types.Field, kind: types.ByteList | types.List, name: str
    ) -> Iterator[FramePart]:
        start = self.offset
        count = self.integer(kind.prefix)
        if count > kind.max_items:
            raise self.malformed("too_many", start, f"at most {kind.max_items} items")
        yield FramePart(start, self.offset - start, name, count, self.number, field, kind)
        first = self.offset
        for item in range(count):
            if isinstance(kind, types.List):
                yield from self.value(field, kind.element, f"{name}[{item}]", item)
                continue
            start = self.offset
            value = self.octets(kind.prefix, kind.max_item, nul=kind.nul)
            if self.offset - first > kind.max_total:
                expected = f"at most {kind.max_total} bytes in all items"
                raise self.malformed("total_too_long", start, expected)
            part = f"{name}[{item}]"
            octets = types.Bytes(kind.max_item, kind.nul, kind.prefix)
            yield FramePart(
                start, self.offset - start, part, value, self.number, field, octets, item
            )

    def integer(self, kind: types.Integer) -> int:
        return int.from_bytes(self.take(kind.size), "little", signed=kind.signed)

    def octets(self, prefix: types.Integer, maximum: int, *, nul: bool) -> bytes:
        start = self.offset
        size = self.integer(prefix)
        if size > maximum:
            raise self.malformed("too_long", start, f"a length of at most {maximum}")
        value = self.take(size)
        if not nul and 0 in value:
            raise self.malformed("embedded_nul", start + prefix.size + value.index(0), "no NUL")
        return value

    def text(self, prefix: types.Integer, maximum: int, *, nul: bool) -> bytes:
        start = self.offset + prefix.size
        value = self.octets(prefix, maximum, nul=nul)
        try:
            value.decode()
        except UnicodeDecodeError as error:
            raise self.malformed("not_utf8", start + error.start, "UTF-8") from None
        return value

    def take(self, size: int) -> bytes:
        if size > self.left:
            expected = f"{size} bytes, but only {self.left} are left in the body"
            raise self.malformed("truncated", self.offset, expected)
        self.offset += size
        return self.frame[self.offset - size : self.offset]

    def malformed(self, fault: str, offset: int, expected: str) -> Malformed:
        return Malformed(fault, offset, expected, self.number, self.name)

"""A reader and writer of frames that works from the schema itself, field by field.

The generated codecs are fast; this reader is slow and obvious, and they are tested against it. It
keeps to the order of :data:`microvm_proto.faults.CHECKS`, and does no I/O.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple, TypeAlias

from microvm_proto.faults import FAULTS, Fault
from microvm_proto.schema import Message, Schema
from microvm_proto.types import (
    INTEGERS,
    Array,
    Bool,
    ByteList,
    Bytes,
    Enum,
    Field,
    Flags,
    Float,
    Integer,
    List,
    Scalar,
    Struct,
    Tail,
    Text,
    Type,
)

Value: TypeAlias = "int | bytes | tuple[Value, ...] | Mapping[str, Value]"
"""A value as it stands in a body: a float is its bits, flags are their number, a `bool` is 0 or 1,
text is its UTF-8, an array of `u8` is bytes, another array or list a tuple, a struct its fields."""

_FAULTS = {fault.name: fault for fault in FAULTS}


class Part(NamedTuple):
    """A part of a frame and its value: a field of the header or body, or what a field is made of.

    A struct has a part for each field, as `position.x`, and an array one for each element, as
    `samples[3]`, unless it is of `u8`; a list has that of its count, and those of its items.

    :ivar offset: the offset from the start of the frame.
    :ivar size: the size in bytes, with the prefix of a value of variable length.
    :ivar number: the number of the field, counted from 1; 0 in the header.
    :ivar field: the innermost field that it belongs to: of a struct, or else of the message.
    :ivar kind: the type of the value; of a list's count it is the list's.
    :ivar item: the index of a list's item or an array's element, of the outermost one.
    """

    offset: int
    size: int
    name: str
    value: int | bytes
    number: int = 0
    field: Field | None = None
    kind: Type | None = None
    item: int | None = None


class Malformed(Exception):
    """The frame is one that every decoder has to refuse.

    :ivar offset: the offset of the fault from the start of the frame.
    :ivar expected: what should have been there, one line.
    :ivar number: the number of the field, from 1; 0 for the header and for trailing bytes.
    :ivar name: the name of that field, or empty.
    """

    def __init__(
        self, fault: str, offset: int, expected: str, number: int = 0, name: str = ""
    ) -> None:
        super().__init__(f"{fault} at {offset}: {expected}")
        self.fault: Fault = _FAULTS[fault]
        self.offset = offset
        self.expected = expected
        self.number = number
        self.name = name


class Incomplete(Exception):
    """The frame is not whole yet; at least `missing` more bytes are needed."""

    def __init__(self, missing: int) -> None:
        needed = "1 more byte is" if missing == 1 else f"{missing} more bytes are"
        super().__init__(f"{needed} needed")
        self.missing = missing


def read(schema: Schema, data: bytes, sender: str | None = None) -> Iterator[Part]:
    """Yield the parts of a bare frame, in order.

    :param data: what begins with the frame, when a header of the protocol says how long it is; or
        else all of the frame.
    :param sender: one of the schema's ends; None lets everybody send everything.
    :raises Malformed: after the last part that is right.
    :raises Incomplete: the frame goes on behind `data`.
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
        yield Part(part.offset, part.size, part.name, value)
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
        yield from cursor.field(field)
    if cursor.left:
        raise Malformed("trailing_bytes", cursor.at, "the end of the body")
    if framing.check_size:
        check = int.from_bytes(data[end : end + framing.check_size], "little")
        yield Part(end, framing.check_size, "check", check)


def _checked(schema: Schema, header: Mapping[str, int], sender: str | None) -> Message:
    """Return the message that a header is of, when all that can be told by it is right."""
    at = schema.framing.offset
    message = message_of(schema, header["type"])
    if message is None:
        raise Malformed("unknown_type", at("type"), "the type of a message")
    if sender is not None and message.sender not in (sender, "both"):
        raise Malformed("bad_direction", at("type"), f"a message of the {sender}")
    if header["flags"]:
        raise Malformed("reserved_flags", at("flags"), "0")
    if message.id == "required" and header["id"] == 0:
        raise Malformed("bad_id", at("id"), "any id but 0")
    if message.id == "none" and header["id"] != 0:
        raise Malformed("bad_id", at("id"), "0")
    if header["body_length"] > message.max_body:
        raise Malformed("body_too_long", at("body_length"), f"at most {message.max_body}")
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
    """Encode a bare frame, valid or not; its check is right.

    :param length: the length in the header; by default that of the body.
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


def pack(kind: Type, value: Value) -> bytes:
    """Encode a value as it stands in a body, whether or not it is within its bounds.

    :raises TypeError: the value is of another type than the field.
    """
    match kind, value:
        case Integer(size=size, signed=signed), int():
            return value.to_bytes(size, "little", signed=signed)
        case ((Float() | Bool() | Flags()), int()):
            return value.to_bytes(kind.size, "little")
        case Enum(base=base), _:
            return pack(base, value)
        case Struct(fields=fields), Mapping():
            return b"".join(pack(field.type, value[field.name]) for field in fields)
        case Array(is_octets=True), bytes():
            return value
        case Array(element=element), tuple():
            return b"".join(pack(element, each) for each in value)
        case ((Bytes(prefix=prefix) | Text(prefix=prefix)), bytes()):
            return pack(prefix, len(value)) + value
        case ByteList(prefix=prefix), tuple():
            item = Bytes(kind.max_item, kind.nul, prefix)
            return pack(prefix, len(value)) + b"".join(pack(item, each) for each in value)
        case List(element=element, prefix=prefix), tuple():
            return pack(prefix, len(value)) + b"".join(pack(element, each) for each in value)
        case Tail(), bytes():
            return value
    raise TypeError(f"{value!r} is no value of {kind}")


def message_of(schema: Schema, number: int) -> Message | None:
    """Return the message with this type number, or None."""
    return next((message for message in schema.messages if message.number == number), None)


class _Cursor:
    """A place in a frame; `number` and `name` are of the field there."""

    def __init__(self, frame: bytes, at: int) -> None:
        self.frame = frame
        self.at = at
        self.number = 0
        self.name = ""

    @property
    def left(self) -> int:
        return len(self.frame) - self.at

    def field(self, field: Field) -> Iterator[Part]:
        yield from self.value(field, field.type, field.name)

    def value(self, field: Field, kind: Type, name: str, item: int | None = None) -> Iterator[Part]:
        """Read a value, which is all of a field or what it is made of, as one part or more."""
        start = self.at
        match kind:
            case Struct(fields=fields):
                for each in fields:
                    yield from self.value(each, each.type, f"{name}.{each.name}", item)
                return
            case Array(is_octets=False, element=element, count=count):
                for at in range(count):
                    first = at if item is None else item
                    yield from self.value(field, element, f"{name}[{at}]", first)
                return
            case ByteList() | List():
                yield from self.list(field, kind, name)
                return
            case Array(size=size):
                value: int | bytes = self.take(size)
            case Bytes(maximum=maximum, nul=nul):
                value = self.octets(kind.prefix, maximum, nul=nul)
            case Text(maximum=maximum, nul=nul):
                value = self.text(kind.prefix, maximum, nul=nul)
            case Tail(maximum=maximum):
                if self.left > maximum:
                    raise self.malformed("too_long", start, f"at most {maximum} bytes")
                value = self.take(self.left)
            case _:
                value = self.number_of(field, kind)
        yield Part(start, self.at - start, name, value, self.number, field, kind, item)

    def number_of(self, field: Field, kind: Scalar) -> int:
        start = self.at
        match kind:
            case Integer():
                value = self.integer(kind)
                if field.equals not in (None, value):
                    raise self.malformed("unknown_value", start, f"always {field.equals:#x}")
            case Float():
                value = self.integer(kind.bits)
                if kind.finite and value & kind.exponent == kind.exponent:
                    raise self.malformed("not_finite", start, "a finite number")
            case Bool():
                value = self.integer(INTEGERS["u8"])
                if value > 1:
                    raise self.malformed("unknown_value", start, "0 or 1")
            case Enum(base=base, closed=closed, values=known):
                value = self.integer(base)
                if closed and all(value != each.number for each in known):
                    names = ", ".join(f"{each.name} ({each.number})" for each in known)
                    raise self.malformed("unknown_value", start, f"one of {names}")
            case Flags(base=base, closed=closed, mask=mask):
                value = self.integer(base)
                if closed and value & ~mask:
                    raise self.malformed("unknown_value", start, f"no bits but those of {mask:#x}")
        return value

    def list(self, field: Field, kind: ByteList | List, name: str) -> Iterator[Part]:
        start = self.at
        count = self.integer(kind.prefix)
        if count > kind.max_items:
            raise self.malformed("too_many", start, f"at most {kind.max_items} items")
        yield Part(start, self.at - start, name, count, self.number, field, kind)
        first = self.at
        for item in range(count):
            if isinstance(kind, List):
                yield from self.value(field, kind.element, f"{name}[{item}]", item)
                continue
            start = self.at
            value = self.octets(kind.prefix, kind.max_item, nul=kind.nul)
            if self.at - first > kind.max_total:
                expected = f"at most {kind.max_total} bytes of items in all"
                raise self.malformed("total_too_long", start, expected)
            part = f"{name}[{item}]"
            octets = Bytes(kind.max_item, kind.nul, kind.prefix)
            yield Part(start, self.at - start, part, value, self.number, field, octets, item)

    def integer(self, kind: Integer) -> int:
        return int.from_bytes(self.take(kind.size), "little", signed=kind.signed)

    def octets(self, prefix: Integer, maximum: int, *, nul: bool) -> bytes:
        start = self.at
        size = self.integer(prefix)
        if size > maximum:
            raise self.malformed("too_long", start, f"a length of at most {maximum}")
        value = self.take(size)
        if not nul and 0 in value:
            raise self.malformed("embedded_nul", start + prefix.size + value.index(0), "no NUL")
        return value

    def text(self, prefix: Integer, maximum: int, *, nul: bool) -> bytes:
        start = self.at + prefix.size
        value = self.octets(prefix, maximum, nul=nul)
        try:
            value.decode()
        except UnicodeDecodeError as error:
            raise self.malformed("not_utf8", start + error.start, "UTF-8") from None
        return value

    def take(self, size: int) -> bytes:
        if size > self.left:
            expected = f"{size} bytes; the body has {self.left} left"
            raise self.malformed("truncated", self.at, expected)
        self.at += size
        return self.frame[self.at - size : self.at]

    def malformed(self, fault: str, offset: int, expected: str) -> Malformed:
        return Malformed(fault, offset, expected, self.number, self.name)

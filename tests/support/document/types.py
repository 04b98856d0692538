"""The types of fields, written from the text of the specifications."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn, Protocol


class Malformed(Exception):
    """Error of a frame that a decoder refuses: the reason, the offset and the field."""

    def __init__(self, fault: str, offset: int, number: int = 0) -> None:
        super().__init__(f"{fault} at {offset}, field {number}")
        self.fault = fault
        self.offset = offset
        self.number = number


class Body:
    """A reader of a body, field by field."""

    def __init__(self, frame: bytes, at: int, version: int) -> None:
        self.frame = frame
        self.at = at
        self.version = version
        self.number = 0

    @property
    def left(self) -> int:
        """Number of bytes that are left."""
        return len(self.frame) - self.at

    def take(self, size: int) -> bytes:
        """Return the next bytes of this number."""
        if size > self.left:
            self.refuse("truncated", self.at)
        self.at += size
        return self.frame[self.at - size : self.at]

    def refuse(self, fault: str, offset: int) -> NoReturn:
        """Raise an error for the current field."""
        raise Malformed(fault, offset, self.number)


class Kind(Protocol):
    """A type: functions that read and write it, and its maximum length in bytes."""

    @property
    def longest(self) -> int: ...
    def read(self, body: Body) -> Any: ...
    def write(self, value: Any) -> bytes: ...


@dataclass(frozen=True)
class Number:
    """An integer of a number of bytes.

    :ivar constant: the only valid value; None if others are valid.
    :ivar known: valid values with the versions that introduced them; None if all are valid.
    :ivar bits: valid bits with the versions that introduced them; None if all are valid.
    """

    longest: int
    signed: bool = False
    constant: int | None = None
    known: Sequence[tuple[int, int]] | None = None
    bits: Sequence[tuple[int, int]] | None = None
    finite: bool = False

    def read(self, body: Body) -> int:
        start = body.at
        value = int.from_bytes(body.take(self.longest), "little", signed=self.signed)
        if not self._can_be(value, body.version):
            body.refuse("unknown_value", start)
        exponent = 0xFF << 23 if self.longest == 4 else 0x7FF << 52
        if self.finite and value & exponent == exponent:
            body.refuse("not_finite", start)
        return value

    def _can_be(self, value: int, version: int) -> bool:
        if self.constant is not None:
            return value == self.constant
        if self.known is not None:
            return (True, value) in {(since <= version, known) for known, since in self.known}
        if self.bits is not None:
            return not value & ~sum(1 << bit for bit, since in self.bits if since <= version)
        return True

    def write(self, value: int) -> bytes:
        return value.to_bytes(self.longest, "little", signed=self.signed)


@dataclass(frozen=True)
class Octets:
    """A `bytes` or `text` value with a maximum length."""

    prefix: Number
    most: int
    nul: bool
    text: bool = False

    @property
    def longest(self) -> int:
        return self.prefix.longest + self.most

    def read(self, body: Body) -> bytes:
        start = body.at
        size = self.prefix.read(body)
        if size > self.most:
            body.refuse("too_long", start)
        start = body.at
        value = body.take(size)
        if not self.nul and 0 in value:
            body.refuse("embedded_nul", start + value.index(0))
        try:
            value.decode() if self.text else None
        except UnicodeDecodeError as error:
            body.refuse("not_utf8", start + error.start)
        return value

    def write(self, value: bytes) -> bytes:
        return self.prefix.write(len(value)) + value


@dataclass(frozen=True)
class Items:
    """A list of `bytes`, or of values that have all the same size."""

    prefix: Number
    most: int
    each: Kind
    in_all: int

    @property
    def longest(self) -> int:
        return self.prefix.longest + self.in_all

    def read(self, body: Body) -> tuple[Any, ...]:
        start = body.at
        count = self.prefix.read(body)
        if count > self.most:
            body.refuse("too_many", start)
        first = body.at
        items = []
        for _ in range(count):
            start = body.at
            items.append(self.each.read(body))
            if body.at - first > self.in_all:
                body.refuse("total_too_long", start)
        return tuple(items)

    def write(self, value: Sequence[Any]) -> bytes:
        return self.prefix.write(len(value)) + b"".join(map(self.each.write, value))


@dataclass(frozen=True)
class Array:
    """A fixed number of values; an array of `u8` is read as bytes."""

    count: int
    each: Kind
    raw: bool

    @property
    def longest(self) -> int:
        return self.count * self.each.longest

    def read(self, body: Body) -> bytes | tuple[Any, ...]:
        if self.raw:
            return body.take(self.count)
        return tuple(self.each.read(body) for _ in range(self.count))

    def write(self, value: Sequence[Any]) -> bytes:
        return b"".join(map(self.each.write, value))


@dataclass(frozen=True)
class Struct:
    """A sequence of fields."""

    fields: Sequence[tuple[str, Kind]]

    @property
    def longest(self) -> int:
        return sum(kind.longest for _, kind in self.fields)

    def read(self, body: Body) -> dict[str, Any]:
        return {name: kind.read(body) for name, kind in self.fields}

    def write(self, value: Mapping[str, Any]) -> bytes:
        return b"".join(kind.write(value[name]) for name, kind in self.fields)


@dataclass(frozen=True)
class Tail:
    """The remaining bytes of a body."""

    longest: int

    def read(self, body: Body) -> bytes:
        if body.left > self.longest:
            body.refuse("too_long", body.at)
        return body.take(body.left)

    def write(self, value: bytes) -> bytes:
        return value

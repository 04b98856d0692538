"""The schema in memory: known to be valid, with every fact about its layout computed.

All sizes and offsets are bytes. A body starts right after the header; offsets here count from the
start of the body.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

HEADER_SIZE = 12
PREFIX_SIZE = 4
"""The size of the length before a variable-length value, and of the count before a list."""


@dataclass(frozen=True, slots=True)
class Integer:
    """An integer type, `u8` to `u64` or `i8` to `i64`; little-endian."""

    name: str
    size: int
    signed: bool

    @property
    def minimum(self) -> int:
        """The lowest value."""
        return -(1 << (8 * self.size - 1)) if self.signed else 0

    @property
    def maximum(self) -> int:
        """The highest value."""
        return (1 << (8 * self.size - self.signed)) - 1


INTEGERS = {
    f"{sign}{8 * size}": Integer(f"{sign}{8 * size}", size, sign == "i")
    for sign in "ui"
    for size in (1, 2, 4, 8)
}


@dataclass(frozen=True, slots=True)
class EnumValue:
    """A named number; `since` is the version that brought it."""

    name: str
    number: int
    doc: str
    since: int


@dataclass(frozen=True, slots=True)
class Enum:
    """Names for the values of an integer type; a decoder refuses other values of a closed one.

    :ivar reserved: numbers of values that are gone, which no other may take.
    """

    name: str
    base: Integer
    closed: bool
    doc: str
    values: tuple[EnumValue, ...]
    extends_faults: bool
    reserved: tuple[int, ...] = ()

    def at(self, version: int) -> Enum:
        """Return the enum as it is in `version`."""
        return replace(self, values=tuple(v for v in self.values if v.since <= version))


@dataclass(frozen=True, slots=True)
class Bytes:
    """A length and that many bytes; `nul` says whether a zero byte may be among them."""

    maximum: int
    nul: bool


@dataclass(frozen=True, slots=True)
class ByteList:
    """A count and that many `Bytes`; `max_total` bounds the items with their prefixes."""

    max_items: int
    max_item: int
    max_total: int
    nul: bool


@dataclass(frozen=True, slots=True)
class Tail:
    """The rest of the body, without a prefix."""

    maximum: int


Type: TypeAlias = Integer | Enum | Bytes | ByteList | Tail


def bounds(kind: Type) -> dict[str, int]:
    """Return the bounds of a type of variable length, by their keys in a schema."""
    match kind:
        case Bytes(maximum=maximum) | Tail(maximum=maximum):
            return {"max": maximum}
        case ByteList(max_items=items, max_item=item, max_total=total):
            return {"max_items": items, "max_item": item, "max_total": total}
    return {}


@dataclass(frozen=True, slots=True)
class Field:
    """A field of a message.

    :ivar equals: the only value it may have; then it is not part of the decoded message.
    :ivar offset: the offset in the body; None behind a field of variable length.
    :ivar since: the version that brought it.
    :ivar number: from 1, in the order in which the fields came: a tail keeps its own when others
        are put before it.
    :ivar default: what a decoder puts in its place in older versions; bytes and lists are empty.
    """

    name: str
    type: Type
    doc: str
    since: int
    equals: int | None
    offset: int | None
    min_size: int
    max_size: int
    number: int = 0
    default: int = 0

    @property
    def fixed(self) -> bool:
        """Whether the field's length is the same in every message."""
        return isinstance(self.type, Integer | Enum)

    @property
    def growth(self) -> list[int]:
        """The versions after the field's own that added values to its closed enum."""
        sinces = {value.since for value in _closed_values(self.type)}
        return sorted(since for since in sinces if since > self.since)

    def at(self, version: int) -> Field:
        """Return the field as it is in `version`; its offset is not moved."""
        kind = self.type
        return replace(self, type=kind.at(version)) if isinstance(kind, Enum) else self


def _closed_values(kind: Type) -> tuple[EnumValue, ...]:
    return kind.values if isinstance(kind, Enum) and kind.closed else ()


def lay_out(fields: Iterable[Field]) -> tuple[Field, ...]:
    """Return the fields with their numbers and offsets."""
    there = list(fields)
    numbers = {
        at: n for n, at in enumerate(sorted(range(len(there)), key=lambda at: there[at].since), 1)
    }
    placed: list[Field] = []
    offset: int | None = 0
    for at, field in enumerate(there):
        placed.append(replace(field, number=numbers[at], offset=offset))
        offset = offset + field.max_size if offset is not None and field.fixed else None
    return tuple(placed)


@dataclass(frozen=True, slots=True)
class Message:
    """A message; `sender` is one of the schema's ends or `both`.

    :ivar id: what its header's id must be: `required` (not 0), `none` (0) or `any`.
    :ivar frozen: its layout is the same in every version.
    """

    name: str
    number: int
    sender: str
    id: str
    frozen: bool
    doc: str
    since: int
    fields: tuple[Field, ...]

    @property
    def min_body(self) -> int:
        """The length of the shortest body."""
        return sum(field.min_size for field in self.fields)

    @property
    def max_body(self) -> int:
        """The length of the longest body."""
        return sum(field.max_size for field in self.fields)

    @property
    def has_tail(self) -> bool:
        """Whether the last field is a tail."""
        return bool(self.fields) and isinstance(self.fields[-1].type, Tail)

    @property
    def visible(self) -> tuple[Field, ...]:
        """The fields that are given when a message is made: all but the constants."""
        return tuple(field for field in self.fields if field.equals is None)

    @property
    def versions(self) -> list[int]:
        """The versions in which the message came or changed, ascending."""
        sinces = (since for field in self.fields for since in (field.since, *field.growth))
        return sorted({self.since, *sinces})

    def is_later(self, field: Field) -> bool:
        """Tell whether there are versions of the message without this field."""
        return field.since > self.since

    def at(self, version: int) -> Message:
        """Return the message as it is in `version`."""
        there = (field.at(version) for field in self.fields if field.since <= version)
        return replace(self, fields=lay_out(there))


@dataclass(frozen=True, slots=True)
class Constant:
    """A value that both ends know by its name: an integer of at most 64 bits, or ASCII text."""

    name: str
    value: int | str
    doc: str


@dataclass(frozen=True, slots=True)
class Section:
    """A section of the specification, for what no field can say."""

    title: str
    text: str


@dataclass(frozen=True, slots=True)
class Output:
    """A file that a backend writes; `path` is absolute.

    :ivar module: the name by which Python imports it, when it is a module.
    """

    backend: str
    path: Path
    module: str


@dataclass(frozen=True, slots=True)
class Schema:
    """A protocol: its ends, its messages and their types.

    :ivar reserved: numbers of messages that are gone, which no other may take.
    :ivar digest: 64 bits over everything that shapes the bytes on the wire, and nothing else.
    """

    path: Path
    name: str
    version: int
    ends: tuple[str, str]
    doc: str
    sections: tuple[Section, ...]
    enums: tuple[Enum, ...]
    messages: tuple[Message, ...]
    outputs: tuple[Output, ...]
    reserved: tuple[int, ...] = ()
    constants: tuple[Constant, ...] = ()
    digest: int = 0

    @property
    def source(self) -> str:
        """The name of the schema file, safe for generated text: without quotes and the like."""
        return re.sub(r"[^\w.+-]", "_", self.path.name)

    @property
    def versions(self) -> list[int]:
        """The versions that brought something, and the newest, ascending."""
        values = {value.since for enum in self.enums for value in enum.values}
        messages = {version for message in self.messages for version in message.versions}
        return sorted({1, self.version, *values, *messages})

    def at(self, version: int) -> Schema:
        """Return the schema as it was in `version`, without a digest."""
        return replace(
            self,
            version=version,
            enums=tuple(enum.at(version) for enum in self.enums),
            messages=tuple(m.at(version) for m in self.messages if m.since <= version),
            digest=0,
        )

    @property
    def max_body(self) -> int:
        """The length of the longest body of any message."""
        return max((message.max_body for message in self.messages), default=0)

    def max_body_from(self, end: str, *, tails: bool = True) -> int:
        """Return the length of the longest body that `end` may send.

        :param tails: whether messages with a tail count.
        """
        sent = (m for m in self.messages if m.sender in (end, "both"))
        return max((m.max_body for m in sent if tails or not m.has_tail), default=0)

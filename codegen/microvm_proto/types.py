"""The types of fields, and the fields: what each takes on the wire, in bytes.

Integers, floats, `bool`, enums, flags, structs and arrays of them are of fixed size; the others
have a length or a count in front, or are the rest of the body.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class Renamed:
    """The names that something has in C and in Python instead of its own; empty for its own."""

    c: str = ""
    python: str = ""


NOT_RENAMED = Renamed()


class Named:
    """Something with a name, which may be another one in C or in Python."""

    __slots__ = ()

    name: str
    renamed: Renamed

    @property
    def c_name(self) -> str:
        """The name in C."""
        return self.renamed.c or self.name

    @property
    def python_name(self) -> str:
        """The name in Python."""
        return self.renamed.python or self.name


def camel(name: str) -> str:
    """Turn a name such as `exec_request` into `ExecRequest`."""
    return "".join(word.capitalize() for word in name.split("_"))


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
U32 = INTEGERS["u32"]


@dataclass(frozen=True, slots=True)
class Float:
    """A number of IEEE 754, `f32` or `f64`; its value here is its bits, as an unsigned integer.

    :ivar finite: whether a decoder refuses NaN and the infinities.
    """

    name: str
    size: int
    finite: bool = False

    @property
    def bits(self) -> Integer:
        """The integer type of the same size."""
        return INTEGERS[f"u{8 * self.size}"]

    @property
    def exponent(self) -> int:
        """The mask of the bits that are all 1 in NaN and the infinities."""
        return 0x7F800000 if self.size == 4 else 0x7FF0000000000000

    def number(self, bits: int) -> float:
        """Return the number that has these bits."""
        data = bits.to_bytes(self.size, "little")
        number: float = struct.unpack("<f" if self.size == 4 else "<d", data)[0]
        return number


FLOATS = {name: Float(name, size) for name, size in (("f32", 4), ("f64", 8))}


@dataclass(frozen=True, slots=True)
class Bool:
    """A byte that is 0 or 1."""

    name: str = "bool"
    size: int = 1


BOOL = Bool()


@dataclass(frozen=True, slots=True)
class EnumValue:
    """A named number; `since` is the version that brought it."""

    name: str
    number: int
    doc: str
    since: int


@dataclass(frozen=True, slots=True)
class Enum(Named):
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
    renamed: Renamed = NOT_RENAMED

    @property
    def size(self) -> int:
        """The size of its integer."""
        return self.base.size

    def at(self, version: int) -> Enum:
        """Return the enum as it is in `version`."""
        return replace(self, values=tuple(v for v in self.values if v.since <= version))


@dataclass(frozen=True, slots=True)
class FlagBit:
    """A named bit, counted from the lowest, which is 0; `since` is the version that brought it."""

    name: str
    bit: int
    doc: str
    since: int

    @property
    def mask(self) -> int:
        """The number that has this bit alone."""
        return 1 << self.bit


@dataclass(frozen=True, slots=True)
class Flags(Named):
    """Names for the bits of an unsigned integer; a decoder refuses other bits of closed ones.

    :ivar reserved: bits that are gone, which no other may take.
    """

    name: str
    base: Integer
    closed: bool
    doc: str
    bits: tuple[FlagBit, ...]
    reserved: tuple[int, ...] = ()
    renamed: Renamed = NOT_RENAMED

    @property
    def size(self) -> int:
        """The size of its integer."""
        return self.base.size

    @property
    def mask(self) -> int:
        """The number that has all bits that are named."""
        return sum(bit.mask for bit in self.bits)

    def at(self, version: int) -> Flags:
        """Return the flags as they are in `version`."""
        return replace(self, bits=tuple(bit for bit in self.bits if bit.since <= version))


@dataclass(frozen=True, slots=True)
class Struct(Named):
    """Fields of fixed size, one after the other, without padding; the same in every version."""

    name: str
    doc: str
    fields: tuple[Field, ...]
    renamed: Renamed = NOT_RENAMED

    @property
    def size(self) -> int:
        """The sum of the fields' sizes."""
        return sum(field.max_size for field in self.fields)

    def at(self, version: int) -> Struct:
        """Return the struct with its enums and flags as they are in `version`."""
        return replace(self, fields=tuple(field.at(version) for field in self.fields))


@dataclass(frozen=True, slots=True)
class Array:
    """A fixed number of values of one type, one after the other."""

    element: Scalar | Struct
    count: int

    @property
    def size(self) -> int:
        """The size of all elements."""
        return self.count * self.element.size

    @property
    def is_octets(self) -> bool:
        """Whether it is bytes rather than numbers."""
        return self.element == INTEGERS["u8"]


@dataclass(frozen=True, slots=True)
class Bytes:
    """A length and that many bytes; `nul` says whether a zero byte may be among them."""

    maximum: int
    nul: bool
    prefix: Integer = U32


@dataclass(frozen=True, slots=True)
class Text:
    """A length and that many bytes of UTF-8; `nul` says whether U+0000 may be in it."""

    maximum: int
    nul: bool
    prefix: Integer = U32


@dataclass(frozen=True, slots=True)
class ByteList:
    """A count and that many `Bytes`; `max_total` bounds the items with their prefixes."""

    max_items: int
    max_item: int
    max_total: int
    nul: bool
    prefix: Integer = U32


@dataclass(frozen=True, slots=True)
class List:
    """A count and that many values of one type of fixed size."""

    element: Scalar | Struct
    max_items: int
    prefix: Integer = U32


@dataclass(frozen=True, slots=True)
class Tail:
    """The rest of the body, without a prefix."""

    maximum: int


Scalar: TypeAlias = Integer | Float | Bool | Enum | Flags
Fixed: TypeAlias = Scalar | Struct | Array
Type: TypeAlias = Fixed | Bytes | Text | ByteList | List | Tail


def at_version(kind: Type, version: int) -> Type:
    """Return a type with its enums and flags as they are in `version`."""
    match kind:
        case Enum() | Flags() | Struct():
            return kind.at(version)
        case Array(element=Enum() | Flags() | Struct() as element):
            return replace(kind, element=element.at(version))
        case List(element=Enum() | Flags() | Struct() as element):
            return replace(kind, element=element.at(version))
    return kind


def sizes(kind: Type) -> tuple[int, int]:
    """Return the sizes of the shortest and the longest value, prefixes included."""
    match kind:
        case Bytes() | Text():
            return kind.prefix.size, kind.prefix.size + kind.maximum
        case ByteList():
            return kind.prefix.size, kind.prefix.size + kind.max_total
        case List():
            return kind.prefix.size, kind.prefix.size + kind.max_items * kind.element.size
        case Tail(maximum=maximum):
            return 0, maximum
    return kind.size, kind.size


def bounds(kind: Type) -> dict[str, int]:
    """Return the bounds of a type of variable length, by their keys in a schema."""
    match kind:
        case Bytes(maximum=maximum) | Text(maximum=maximum) | Tail(maximum=maximum):
            return {"max": maximum}
        case ByteList(max_items=items, max_item=item, max_total=total):
            return {"max_items": items, "max_item": item, "max_total": total}
        case List(max_items=items):
            return {"max_items": items}
    return {}


def within(kind: Type) -> Iterator[Type]:
    """Yield a type and all that it is made of."""
    yield kind
    match kind:
        case Array(element=element) | List(element=element):
            yield from within(element)
        case Struct(fields=fields):
            for field in fields:
                yield from within(field.type)


@dataclass(frozen=True, slots=True)
class Field(Named):
    """A field of a message, or of a struct, whose fields came all with version 1.

    :ivar equals: the only value it may have; then it is not part of the decoded message.
    :ivar absent: the number that stands for no value: None in Python.
    :ivar offset: the offset in the body or struct; None behind a field of variable length.
    :ivar since: the version that brought it.
    :ivar number: from 1, in the order in which the fields came: a tail keeps its own when others
        are put before it.
    :ivar default: what a decoder puts in its place in older versions: a number, or a float's bits;
        what is neither is zero or empty.
    :ivar unit: what it is measured in, as documentation.
    :ivar scale: what the number is multiplied by to be in that unit, as documentation.
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
    absent: int | None = None
    unit: str = ""
    scale: float | None = None
    renamed: Renamed = NOT_RENAMED

    @property
    def fixed(self) -> bool:
        """Whether the field's length is the same in every message."""
        return isinstance(self.type, Fixed)

    @property
    def growth(self) -> list[int]:
        """The versions after the field's own that added values to what is closed in it."""
        sinces = {since for kind in within(self.type) for since in _closed_sinces(kind)}
        return sorted(since for since in sinces if since > self.since)

    @property
    def constants(self) -> dict[str, int]:
        """The numbers about the field that have names in C, by the last words of these."""
        named = bounds(self.type)
        # The tail is last: what precedes it has a fixed offset when nothing is variable.
        if isinstance(self.type, Tail) and self.offset is not None:
            named["prefix"] = self.offset
        if isinstance(self.type, Array):
            named["count"] = self.type.count
        if self.absent is not None:
            named["absent"] = self.absent
        return named

    @property
    def about(self) -> str:
        """The documentation, with the unit; empty without both."""
        step = "" if self.scale is None else f"steps of {self.scale:g} "
        unit = self.unit or ("of its unit" if step else "")
        return " ".join(filter(None, [self.doc, f"In {step}{unit}." if unit else ""]))

    def at(self, version: int) -> Field:
        """Return the field as it is in `version`; its offset is not moved."""
        return replace(self, type=at_version(self.type, version))


def _closed_sinces(kind: Type) -> Iterator[int]:
    match kind:
        case Enum(closed=True, values=values):
            yield from (value.since for value in values)
        case Flags(closed=True, bits=bits):
            yield from (bit.since for bit in bits)


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

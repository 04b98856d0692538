"""The classes of fields and of their types, which know their number of bytes on the wire.

Integers, floats, `bool`, enums, flags, structs and arrays have a fixed size. The other types begin
with a length or a count, except the tail, a byte string that takes the rest of the body.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import ClassVar, Self, TypeAlias


@dataclass(frozen=True, slots=True)
class Renamed:
    """Names that replace a name of the schema in C and in Python; empty to keep the name."""

    c: str = ""
    python: str = ""


NOT_RENAMED = Renamed()


class Named:
    """A base class of declarations, such as messages, that can have other names in C or Python."""

    __slots__ = ()

    name: str
    renamed: Renamed

    @property
    def c_name(self) -> str:
        """Name of the declaration in generated C code."""
        return self.renamed.c or self.name

    @property
    def python_name(self) -> str:
        """Name of the declaration in generated Python code."""
        return self.renamed.python or self.name


def camel(name: str) -> str:
    """Convert a name such as `exec_request` into `ExecRequest`."""
    return "".join(word.capitalize() for word in name.split("_"))


@dataclass(frozen=True, slots=True)
class Integer:
    """A little-endian integer type, `u8` to `u64` or `i8` to `i64`."""

    name: str
    size: int
    signed: bool

    @property
    def minimum(self) -> int:
        """The lowest value of this integer type."""
        return -(1 << (8 * self.size - 1)) if self.signed else 0

    @property
    def maximum(self) -> int:
        """The highest value of this integer type."""
        return (1 << (8 * self.size - self.signed)) - 1


INTEGERS = {
    f"{sign}{8 * size}": Integer(f"{sign}{8 * size}", size, sign == "i")
    for sign in "ui"
    for size in (1, 2, 4, 8)
}
U32 = INTEGERS["u32"]


@dataclass(frozen=True, slots=True)
class Float:
    """A floating-point type of IEEE 754, `f32` or `f64`.

    The generator represents the value of a float by its bits, as an unsigned integer.

    :ivar finite: True if a decoder refuses NaN and the infinities.
    """

    name: str
    size: int
    finite: bool = False

    @property
    def bits(self) -> Integer:
        """Unsigned integer type of the same size as this float type."""
        return INTEGERS[f"u{8 * self.size}"]

    @property
    def exponent(self) -> int:
        """Mask of the bits of the exponent, which are all 1 in NaN and the infinities."""
        return 0x7F800000 if self.size == 4 else 0x7FF0000000000000

    def number(self, bits: int) -> float:
        """Return the floating-point number with these bits."""
        data = bits.to_bytes(self.size, "little")
        number: float = struct.unpack("<f" if self.size == 4 else "<d", data)[0]
        return number


FLOATS = {name: Float(name, size) for name, size in (("f32", 4), ("f64", 8))}


@dataclass(frozen=True, slots=True)
class Bool:
    """The boolean type: a byte that is 0 or 1."""

    name: str = "bool"
    size: int = 1


BOOL = Bool()


@dataclass(frozen=True, slots=True)
class Member:
    """A named value of an enum, or a named bit of flags.

    :ivar number: The value, or the number of the bit; 0 is the lowest bit.
    :ivar since: Version of the protocol that added the member.
    """

    name: str
    number: int
    doc: str
    since: int

    @property
    def mask(self) -> int:
        """Integer in which only this bit is set."""
        return 1 << self.number


@dataclass(frozen=True, slots=True)
class Enumerated(Named):
    """An integer type whose values or bits have names: the base class of enums and flags.

    :cvar KEYS: Names in a schema file: of the table that declares such a type, of the table that
        declares a member, and of the key that holds the number of a member.
    :ivar closed: True if a decoder refuses values or bits without a name.
    :ivar inherited: Number of members at the start that each schema has: the faults of frames.
    :ivar reserved: Numbers of removed members, which no new member may use.
    """

    KEYS: ClassVar[tuple[str, str, str]]

    name: str
    base: Integer
    closed: bool
    doc: str
    members: tuple[Member, ...]
    inherited: int = 0
    reserved: tuple[int, ...] = ()
    renamed: Renamed = NOT_RENAMED

    @property
    def size(self) -> int:
        """Number of bytes of the integer type."""
        return self.base.size

    def at(self, version: int) -> Self:
        """Return the type with only the members that `version` or an older version has added."""
        return replace(self, members=tuple(m for m in self.members if m.since <= version))

    def value(self, member: Member) -> int:
        """Return the integer that a member stands for."""
        return member.number

    @property
    def constants(self) -> list[tuple[str, int, str]]:
        """List of each member's name, integer value and documentation."""
        return [(member.name, self.value(member), member.doc) for member in self.members]


@dataclass(frozen=True, slots=True)
class Enum(Enumerated):
    """An enum: an integer type whose values have names."""

    KEYS = ("enum", "value", "number")


@dataclass(frozen=True, slots=True)
class Flags(Enumerated):
    """Flags: an unsigned integer type whose bits have names."""

    KEYS = ("flags", "bit", "bit")

    @property
    def mask(self) -> int:
        """Integer in which all named bits are set."""
        return sum(bit.mask for bit in self.members)

    def value(self, member: Member) -> int:
        """Return the integer in which only the bit `member` is set."""
        return member.mask


@dataclass(frozen=True, slots=True)
class Struct(Named):
    """A sequence of fields of fixed size, without padding. Every version has the same fields."""

    name: str
    doc: str
    fields: tuple[Field, ...]
    renamed: Renamed = NOT_RENAMED

    @property
    def size(self) -> int:
        """Number of bytes of the struct on the wire."""
        return sum(field.max_size for field in self.fields)

    def at(self, version: int) -> Struct:
        """Return the struct as it was in `version`: its enums and flags may have fewer values."""
        return replace(self, fields=tuple(field.at(version) for field in self.fields))


@dataclass(frozen=True, slots=True)
class Array:
    """A sequence with a fixed number of values of one type."""

    element: Element
    count: int

    @property
    def size(self) -> int:
        """Number of bytes of the array on the wire."""
        return self.count * self.element.size

    @property
    def is_octets(self) -> bool:
        """True if the elements of the array are `u8`, so that its value in Python is `bytes`."""
        return self.element == INTEGERS["u8"]


@dataclass(frozen=True, slots=True)
class Bytes:
    """A byte string, preceded by its length.

    :ivar nul: True if the string may contain zero bytes.
    """

    name: ClassVar[str] = "bytes"
    maximum: int
    nul: bool
    prefix: Integer = U32


@dataclass(frozen=True, slots=True)
class Text:
    """A UTF-8 string, preceded by its length in bytes.

    :ivar nul: True if the string may contain U+0000.
    """

    name: ClassVar[str] = "text"
    maximum: int
    nul: bool
    prefix: Integer = U32


@dataclass(frozen=True, slots=True)
class ByteList:
    """A list of byte strings, preceded by the number of items.

    :ivar max_total: Maximum number of bytes in all items, including their lengths.
    :ivar nul: True if items may contain zero bytes.
    """

    name: ClassVar[str] = "list<bytes>"
    max_items: int
    max_item: int
    max_total: int
    nul: bool
    prefix: Integer = U32


@dataclass(frozen=True, slots=True)
class List:
    """A list of values of one type of fixed size, preceded by the number of items."""

    element: Element
    max_items: int
    prefix: Integer = U32


@dataclass(frozen=True, slots=True)
class Tail:
    """A byte string without a length, which takes the rest of the body."""

    name: ClassVar[str] = "tail"
    maximum: int


Scalar: TypeAlias = Integer | Float | Bool | Enumerated
Element: TypeAlias = Scalar | Struct
Fixed: TypeAlias = Element | Array
Type: TypeAlias = Fixed | Bytes | Text | ByteList | List | Tail


def at_version(kind: Type, version: int) -> Type:
    """Return a type as it was in `version`: enums and flags in it may have fewer values."""
    match kind:
        case Enumerated() | Struct():
            return kind.at(version)
        case Array() | List() if isinstance(kind.element, Enumerated | Struct):
            return replace(kind, element=kind.element.at(version))
    return kind


def sizes(kind: Type) -> tuple[int, int]:
    """Return the sizes in bytes of the shortest and the longest value of a type.

    They include the length or the count that precedes a value.
    """
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
    """Return the bounds of a type of variable size, such as `max`, by their keys in a schema."""
    match kind:
        case Bytes(maximum=maximum) | Text(maximum=maximum) | Tail(maximum=maximum):
            return {"max": maximum}
        case ByteList(max_items=items, max_item=item, max_total=total):
            return {"max_items": items, "max_item": item, "max_total": total}
        case List(max_items=items):
            return {"max_items": items}
    return {}


def within(kind: Type) -> Iterator[Type]:
    """Yield a type, the types of its elements or fields, the types in these, and so on."""
    yield kind
    match kind:
        case Array(element=element) | List(element=element):
            yield from within(element)
        case Struct(fields=fields):
            for field in fields:
                yield from within(field.type)


@dataclass(frozen=True, slots=True)
class Field(Named):
    """A field of a message or struct: name, type, offset, and properties such as the unit.

    :ivar since: Version of the protocol that added the field; 1 for every field of a struct.
    :ivar equals: The only valid value, or None. A field with such a value is not an attribute of
        decoded messages.
    :ivar offset: Offset in the body or struct; None if a field before this one has a variable size.
    :ivar number: Number of the field, from 1, in the order in which versions added the fields. A
        tail keeps its number when a later version inserts fields before it.
    :ivar default: Value that a decoder returns for a message of an older version without the field:
        an integer, or the bits of a float. For other types, the value is zero or empty.
    :ivar absent: Number that means "no value", for which Python has None.
    :ivar scale: Factor that converts the number into a quantity in the unit, for documentation.
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
        """True if the field has the same size in every message."""
        return isinstance(self.type, Fixed)

    @property
    def growth(self) -> list[int]:
        """Versions after `since` that added values to closed enums or flags in the field's type."""
        sinces = {since for kind in within(self.type) for since in _closed_sinces(kind)}
        return sorted(since for since in sinces if since > self.since)

    @property
    def constants(self) -> dict[str, int]:
        """Numbers that become C constants, by the end of the constant's name: a bound by `max`."""
        named = bounds(self.type)
        # A tail is the last field. If all fields before it have a fixed size, C code gets their
        # total size, which is the offset of the tail, as a constant.
        if isinstance(self.type, Tail) and self.offset is not None:
            named["prefix"] = self.offset
        if isinstance(self.type, Array):
            named["count"] = self.type.count
        if self.absent is not None:
            named["absent"] = self.absent
        return named

    @property
    def about(self) -> str:
        """Documentation and unit of the field as one text; empty if the field has neither."""
        step = "" if self.scale is None else f"steps of {self.scale:g} "
        unit = self.unit or ("of its unit" if step else "")
        return " ".join(filter(None, [self.doc, f"In {step}{unit}." if unit else ""]))

    def at(self, version: int) -> Field:
        """Return the field as it was in `version`: its enums and flags may have fewer values."""
        return replace(self, type=at_version(self.type, version))


def _closed_sinces(kind: Type) -> Iterator[int]:
    match kind:
        case Enumerated(closed=True, members=members):
            yield from (member.since for member in members)


def lay_out(fields: Iterable[Field]) -> tuple[Field, ...]:
    """Return the fields of a message or struct, each with its number and offset set.

    Fields are numbered by age, so that a new field does not change the numbers of older ones.
    """
    given = list(fields)
    by_age = sorted(range(len(given)), key=lambda index: given[index].since)
    numbers = {index: number for number, index in enumerate(by_age, 1)}
    placed: list[Field] = []
    offset: int | None = 0
    for index, field in enumerate(given):
        placed.append(replace(field, number=numbers[index], offset=offset))
        offset = offset + field.max_size if offset is not None and field.fixed else None
    return tuple(placed)

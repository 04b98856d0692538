"""Hypothesis strategies of valid and invalid values and messages, as they are in a frame.

Invalid values are values that no decoder returns, such as a list with fewer items than its count.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

from microvm_proto import frame as reference
from microvm_proto.schema import Message, Schema
from microvm_proto.types import (
    Array,
    Bool,
    ByteList,
    Bytes,
    Enum,
    Enumerated,
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


@dataclass(frozen=True)
class ListItems:
    """A list for C: a count and the items, which need not match."""

    count: int
    data: bytes


def items_of(kind: ByteList | List, items: tuple[Any, ...]) -> bytes:
    """Return the items of a list as bytes of a frame; their number may differ from the count."""
    one = kind.element if isinstance(kind, List) else Bytes(kind.max_item, kind.nul, kind.prefix)
    return b"".join(reference.pack(one, item) for item in items)


def values(field: Field) -> st.SearchStrategy[Any]:
    """Return a strategy of the valid values of a field, with short ones and its limits."""
    value = within_bounds(field.type)
    return value if field.absent is None else value | st.just(field.absent)


def within_bounds(kind: Type) -> st.SearchStrategy[Any]:
    """Return a strategy of the valid values of a type."""
    match kind:
        case Integer(minimum=low, maximum=high):
            return st.integers(low, high)
        case Float(size=size, finite=finite):
            numbers = st.floats(width=32 if size == 4 else 64, allow_nan=not finite)
            numbers = numbers.filter(math.isfinite) if finite else numbers
            return numbers.map(lambda number: struct.pack("<f" if size == 4 else "<d", number)).map(
                lambda data: int.from_bytes(data, "little")
            )
        case Bool():
            return st.sampled_from([0, 1])
        case Enum(closed=True, members=known):
            return st.sampled_from([value.number for value in known])
        case Flags(closed=closed, base=base, members=bits):
            named = st.sets(st.sampled_from([bit.mask for bit in bits])).map(sum)
            return named if closed else named | st.integers(0, base.maximum)
        case Enumerated(base=base):
            return st.integers(base.minimum, base.maximum)
        case Struct(fields=fields):
            return st.fixed_dictionaries({each.name: values(each) for each in fields})
        case Array(is_octets=True, count=count):
            return st.binary(min_size=count, max_size=count)
        case Array(element=element, count=count):
            return st.lists(within_bounds(element), min_size=count, max_size=count).map(tuple)
        case Bytes(maximum=maximum, nul=nul):
            return octets(maximum, nul)
        case Text(maximum=maximum, nul=nul):
            character = st.characters(codec="utf-8", exclude_characters="" if nul else "\0")
            text = st.text(character, max_size=min(maximum, 12)).map(str.encode)
            return text.filter(lambda data: len(data) <= maximum)
        case ByteList(max_items=most, max_item=longest, max_total=total, nul=nul, prefix=prefix):
            items = st.lists(octets(longest, nul), max_size=min(most, 4)).map(tuple)
            return items.filter(lambda them: sum(prefix.size + len(i) for i in them) <= total)
        case List(element=element, max_items=most):
            return st.lists(within_bounds(element), max_size=min(most, 4)).map(tuple)
        case Tail(maximum=maximum):
            return octets(maximum, nul=True)


def octets(maximum: int, nul: bool) -> st.SearchStrategy[bytes]:
    # Hypothesis draws the limits of a range only if the range is small.
    most = min(maximum, 12)
    return st.lists(st.integers(0 if nul else 1, 255), max_size=most).map(bytes)


def wild(field: Field) -> st.SearchStrategy[Any]:
    """Return a strategy of values that a program may pass for a field, valid or not."""
    match field.type:
        case ByteList():
            return _lists_around(field.type) | _items_around(field.type, _lists_around(field.type))
        case List():
            return _wild(field.type) | _items_around(field.type, _wild(field.type))
    return values(field) if field.absent is not None else _wild(field.type)


def _wild(kind: Type) -> st.SearchStrategy[Any]:
    match kind:
        case Float(size=size, exponent=exponent):
            sign = 1 << (8 * size - 1)
            # The highest bit of the mantissa makes a NaN quiet.
            return st.sampled_from([exponent, exponent | sign, exponent | exponent >> 1, sign])
        case Enum(base=base, members=known):
            near = {value.number + step for value in known for step in (-1, 0, 1)}
            fitting = sorted(n for n in near if base.minimum <= n <= base.maximum)
            return st.sampled_from(fitting) | st.integers(base.minimum, base.maximum)
        case Flags(base=base):
            return st.integers(0, base.maximum)
        case Struct(fields=fields):
            return st.fixed_dictionaries({each.name: wild(each) for each in fields})
        case Array(is_octets=False, element=element, count=count):
            return st.lists(_wild(element), min_size=count, max_size=count).map(tuple)
        case List(element=element, max_items=most):
            some = st.lists(_wild(element), max_size=min(most, 3)).map(tuple)
            return some | _wild(element).map(lambda one: (one,) * (most + 1))
        case Text(maximum=maximum):
            surrogate = st.characters(categories=["Cs", "Lu"])
            texts = st.text(surrogate, max_size=4)
            edges = st.sampled_from(["é" * maximum, "\0", "é" * (maximum // 2)])
            return (texts | edges).map(lambda text: text.encode("utf-8", "surrogatepass"))
        case Bytes(maximum=maximum) | Tail(maximum=maximum):
            return _octets_around(maximum)
    return within_bounds(kind)


def _octets_around(maximum: int) -> st.SearchStrategy[bytes]:
    edges = [b"a" * size for size in (maximum - 1, maximum, maximum + 1)]
    zeros = [b"\0", b"\0".ljust(maximum, b"a"), b"\0".rjust(maximum, b"a")]
    return octets(maximum + 2, nul=True) | st.sampled_from(edges) | st.sampled_from(zeros)


def _lists_around(kind: ByteList) -> st.SearchStrategy[tuple[bytes, ...]]:
    prefix = kind.prefix.size
    few = st.lists(_octets_around(kind.max_item), max_size=5).map(tuple)
    many = [(b"",) * count for count in (kind.max_items, kind.max_items + 1)]
    rest = (b"a" * kind.max_item,) * (kind.max_total // (prefix + kind.max_item))
    left = kind.max_total - len(rest) * (prefix + kind.max_item)
    full = [(*rest, b"a" * max(0, left - prefix + more)) for more in (-1, 0, 1)]
    return few | st.sampled_from([*many, *full])


@st.composite
def _items_around(
    draw: st.DrawFn, kind: ByteList | List, lists: st.SearchStrategy[Any]
) -> ListItems:
    """Return counts without items, items without a count, wrong counts and half items."""
    items = draw(lists)
    data = bytearray(items_of(kind, items))
    if data and draw(st.booleans()):
        data[draw(st.integers(0, len(data) - 1))] = draw(st.sampled_from([0, 1, 2, 255]))
    end = len(data) + draw(st.integers(-5, 0))
    count = draw(st.sampled_from([0, 1, 2**32 - 1]) | st.just(len(items) + 1))
    return ListItems(draw(st.sampled_from([len(items), count])), bytes(data[: max(0, end)]))


@st.composite
def messages(draw: st.DrawFn, schema: Schema) -> tuple[Message, int, int, dict[str, Any]]:
    """Return a strategy of a message, a version, an id, and fields, at most two of them invalid."""
    # A message with many fields can be invalid in more ways.
    weighted = [message for message in schema.messages for _ in (0, *message.visible)]
    message = draw(st.sampled_from(weighted))
    version = draw(st.integers(1, schema.version))
    fields = message.visible
    drawn = {}
    for field in fields:
        right = values(field)
        if message.is_later(field):
            # Otherwise the fields of newer versions would make nearly all messages invalid.
            right = st.just(default(field)) | right
        drawn[field.name] = draw(right)
    for _ in range(draw(st.sampled_from([0, 1, 1, 2])) if fields else 0):
        field = draw(st.sampled_from(fields))
        drawn[field.name] = draw(wild(field))
    ids = st.sampled_from([0, 1, 1, 1, 2**32 - 1])
    return message, version, draw(ids) if message.id != "none" else 0, drawn


def default(field: Field) -> Any:
    """Return the value of a field in versions that lack it."""
    return field.default if isinstance(field.type, Scalar) else _zero(field.type)


def _zero(kind: Type) -> Any:
    match kind:
        case Struct(fields=fields):
            return {field.name: _zero(field.type) for field in fields}
        case Array(is_octets=False, element=element, count=count):
            return (_zero(element),) * count
        case Array(size=size):
            return bytes(size)
        case List() | ByteList():
            return ()
        case Bytes() | Text() | Tail():
            return b""
    return 0

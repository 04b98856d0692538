"""The values of each type with which a decoder is tested: the least, the most, and the edges."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from microvm_proto.frame import Value, pack
from microvm_proto.types import (
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
    Struct,
    Tail,
    Text,
    Type,
)

MAX_FILLED = 1 << 16
"""A list, or a body, that can hold more is not filled."""

_MAX_VALUES = 4096
"""A message that never has fewer has no vectors."""

_MAX_LEAVES = 32
"""A message with more values has less for each of them: all of it would grow with the square."""

_BORDERS = [0x01, 0x7F, 0x80, 0x7FF, 0x800, 0xD7FF, 0xE000, 0xFFFF, 0x10000, 0x10FFFF]
"""The first and the last characters of each length in UTF-8, and those beside the surrogates."""


def values_of(field: Field) -> dict[str, Value]:
    """Return the values of a field to try, by name; the least comes first and the most last."""
    if field.absent is None:
        return values(field.type)
    known = values(field.type)
    return {**dict([*known.items()][:-1]), "absent": field.absent, **dict([*known.items()][-1:])}


def least(kind: Type) -> Value:
    """Return the first of the values to try."""
    return next(iter(values(kind).values()))


def values(kind: Type) -> dict[str, Value]:
    """Return the values of a type to try, by name; the least comes first and the most last."""
    match kind:
        case Integer(size=size, minimum=low, maximum=high):
            counted = int.from_bytes(range(1, size + 1), "little")
            edges = {"smallest": low, "-1": -1} if low else {"smallest": low}
            return {**edges, "bytes in order": counted, "largest": high}
        case Float():
            return _floats(kind)
        case Bool():
            return {"false": 0, "true": 1}
        case Enum(base=base, closed=closed):
            known: dict[str, Value] = {value.name: value.number for value in kind.values}
            return known if closed else known | {f"unknown {n}": n for n in unknown(kind, base)}
        case Flags():
            return _bits(kind)
        case Struct(fields=fields):
            return _structs(fields)
        case Array():
            return _arrays(kind)
        case Bytes(maximum=maximum, nul=nul):
            return _octets(maximum, nul=nul)
        case Text(maximum=maximum, nul=nul):
            return _texts(maximum, nul=nul)
        case Tail(maximum=maximum):
            return _octets(maximum, nul=True)
        case ByteList():
            return dict(_byte_lists(kind))
        case List():
            return dict(_lists(kind))


def least_bytes(field: Field) -> bytes:
    """Return the least value of a field as it stands in a body."""
    value = least(field.type) if field.equals is None else field.equals
    return pack(field.type, value)


def combined(choices: Mapping[str, Mapping[str, Value]]) -> Iterator[tuple[str, dict[str, Value]]]:
    """Yield values of all fields, each value at least once, in as few steps as it takes."""
    columns = {name: list(values.values()) for name, values in choices.items()}
    for row in range(max(map(len, columns.values()), default=0)):
        values = {name: values[row % len(values)] for name, values in columns.items()}
        yield f"value {row + 1} of each field", values


def unknown(kind: Enum, base: Integer) -> list[int]:
    """Return numbers that an enum does not name: next to those that it does, and the limits."""
    known = {value.number for value in kind.values}
    near = {number + step for number in known for step in (-1, 1)}
    inside = {number for number in near if base.minimum <= number <= base.maximum}
    return sorted((inside | {base.minimum, base.maximum}) - known)


def quiet_nan(kind: Float) -> int:
    """Return the bits of a NaN that no conversion changes."""
    lowest = kind.exponent & -kind.exponent
    return kind.exponent | lowest >> 1


def full(kind: ByteList) -> tuple[bytes, ...]:
    """Return items as long in all as they may be, or as near as number and lengths allow."""
    prefix = kind.prefix.size
    longest = min(kind.max_item, max(0, kind.max_total - prefix))
    whole, rest = divmod(kind.max_total, prefix + longest)
    if whole > MAX_FILLED:
        return ()
    sizes = [longest] * whole
    if 0 < rest < prefix and whole and longest >= prefix - rest:
        sizes[-1] -= prefix - rest
        rest = prefix
    if rest >= prefix:
        sizes.append(rest - prefix)
    return tuple(b"a" * size for size in sizes[: kind.max_items])


def is_large(fields: Iterable[Field]) -> bool:
    """Tell whether fields have more values in them than can all be tried beside one another."""
    return sum(_leaves(field.type) for field in fields) > _MAX_LEAVES


def is_huge(fields: Iterable[Field]) -> bool:
    """Tell whether even the shortest body has more values than can be written out."""
    return sum(_count(field.type) for field in fields) > _MAX_VALUES


def _count(kind: Type) -> int:
    """Return how many values there are in one of fixed size; 1 for others, which can be empty."""
    match kind:
        case Struct(fields=fields):
            return sum(_count(field.type) for field in fields)
        case Array(is_octets=False, element=element, count=count):
            return count * _count(element)
    return 1


def _leaves(kind: Type) -> int:
    """Return how many values there are in one, of arrays and lists two elements at most."""
    match kind:
        case Struct(fields=fields):
            return sum(_leaves(field.type) for field in fields)
        case Array(is_octets=False, element=element, count=count):
            return min(count, 2) * _leaves(element)
        case List(element=element):
            return 1 + 2 * _leaves(element)
    return 1


def _floats(kind: Float) -> dict[str, Value]:
    sign, infinity = 1 << 8 * kind.size - 1, kind.exponent
    one = infinity >> 1 & infinity
    edges: dict[str, Value] = {"zero": 0, "-0": sign, "1": one, "-1": sign | one, "subnormal": 1}
    if not kind.finite:
        edges |= {"infinity": infinity, "-infinity": sign | infinity}
        # A signalling one does not survive every language's conversions.
        edges |= {"quiet NaN": quiet_nan(kind)}
    return edges | {"largest": infinity - 1}


def _bits(kind: Flags) -> dict[str, Value]:
    found: dict[str, Value] = {"none": 0, **{bit.name: bit.mask for bit in kind.bits}}
    if not kind.closed and kind.mask != kind.base.maximum:
        found["unknown bits"] = kind.base.maximum & ~kind.mask
    return found | {"every bit": kind.mask if kind.closed else kind.base.maximum}


def _structs(fields: Sequence[Field]) -> dict[str, Value]:
    choices = {field.name: values_of(field) for field in fields}
    most = {name: list(values.values())[-1] for name, values in choices.items()}
    return {**dict(combined(choices)), "the most": most}


def _arrays(kind: Array) -> dict[str, Value]:
    """Return arrays with each value of the element first and, beside another one, last."""
    if kind.is_octets:
        counted = (bytes(range(256)) * (kind.count // 256 + 1))[1 : kind.count + 1]
        known: dict[str, Value] = {"zeros": bytes(kind.count), "bytes in order": counted}
        return known | {"largest": b"\xff" * kind.count}
    elements = values(kind.element)
    lowest, *others = elements.values()
    between = (lowest,) * (kind.count - 2)
    ends = zip(elements, elements.values(), [*others, lowest], strict=True)
    found: dict[str, Value] = {"the least": (lowest,) * kind.count}
    found |= {f"first {name}": (value, *between, last)[: kind.count] for name, value, last in ends}
    return found | {"the most": ([lowest, *others][-1],) * kind.count}


def _octets(maximum: int, *, nul: bool) -> dict[str, Value]:
    every = bytes(range(0 if nul else 1, 256))[:maximum]
    return {"empty": b"", "one byte": b"a", "every byte": every, "longest": b"a" * maximum}


def _texts(maximum: int, *, nul: bool) -> dict[str, Value]:
    encoded = {f"U+{n:04X}": chr(n).encode() for n in ([0] if nul else []) + _BORDERS}
    found: dict[str, Value] = {name: c for name, c in encoded.items() if len(c) <= maximum}
    return {"empty": b""} | found | {"longest": b"a" * maximum}


def _byte_lists(kind: ByteList) -> Iterator[tuple[str, Value]]:
    room, prefix = kind.max_total, kind.prefix.size
    yield "empty", ()
    if room >= prefix:
        yield "one empty item", (b"",)
        yield "longest item", (b"a" * min(kind.max_item, room - prefix),)
    most = min(kind.max_items, room // prefix)
    if most <= MAX_FILLED:
        yield "most items", (b"",) * most
    longest = full(kind)
    if longest:
        yield "longest", longest


def _lists(kind: List) -> Iterator[tuple[str, Value]]:
    yield "empty", ()
    elements = values(kind.element)
    for label, value in elements.items():
        yield f"one item, {label}", (value,)
    yield "each item another one", tuple(elements.values())[: kind.max_items]
    if kind.max_items * _count(kind.element) <= MAX_FILLED:
        yield "most items", (least(kind.element),) * kind.max_items
        yield "longest", (list(elements.values())[-1],) * kind.max_items

"""Choose values of each type to test decoders with: the lowest, the highest, and edge cases."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from microvm_proto import types
from microvm_proto.frame import Value, pack

MAX_FILLED = 1 << 16
"""Maximum number of values in a list, or of bytes in a body, up to which a vector fills it."""

_MAX_VALUES = 4096
"""Maximum number of values in the shortest body of a message; larger messages have no vectors."""

_MAX_LEAVES = 32
"""Maximum number of values in a message up to which each value is tested in a vector of its own.

Larger messages test several values in one vector, because the size of all vectors would grow with
the square of the number of values.
"""

_BORDERS = [0x01, 0x7F, 0x80, 0x7FF, 0x800, 0xD7FF, 0xE000, 0xFFFF, 0x10000, 0x10FFFF]
"""The first and the last character of each length in UTF-8, and those next to the surrogates."""


def values_of(field: types.Field) -> dict[str, Value]:
    """Return the values of a field to test, each with its name, from the lowest to the highest."""
    known = values(field.type)
    if field.absent is None:
        return known
    *lower, highest = known.items()
    return dict([*lower, ("absent", field.absent), highest])


def least(kind: types.Type) -> Value:
    """Return the lowest value of a type, which is the first one to test."""
    return next(iter(values(kind).values()))


def values(kind: types.Type) -> dict[str, Value]:
    """Return the values of a type to test, each with its name, from the lowest to the highest."""
    match kind:
        case types.Integer(size=size, minimum=low, maximum=high):
            counted = int.from_bytes(range(1, size + 1), "little")
            edges = {"smallest": low, "-1": -1} if low else {"smallest": low}
            return {**edges, "bytes in order": counted, "largest": high}
        case types.Float():
            return _floats(kind)
        case types.Bool():
            return {"false": 0, "true": 1}
        case types.Flags():
            return _bits(kind)
        case types.Enumerated(closed=closed):
            known: dict[str, Value] = {value.name: value.number for value in kind.members}
            return known if closed else known | {f"unknown {n}": n for n in unknown(kind)}
        case types.Struct(fields=fields):
            return _structs(fields)
        case types.Array():
            return _arrays(kind)
        case types.Bytes(maximum=maximum, nul=nul):
            return _octets(maximum, nul=nul)
        case types.Text(maximum=maximum, nul=nul):
            return _texts(maximum, nul=nul)
        case types.Tail(maximum=maximum):
            return _octets(maximum, nul=True)
        case types.ByteList():
            return dict(_byte_lists(kind))
        case types.List():
            return dict(_lists(kind))


def least_bytes(field: types.Field) -> bytes:
    """Return the encoding of the lowest value of a field."""
    value = least(field.type) if field.equals is None else field.equals
    return pack(field.type, value)


def combined(choices: Mapping[str, Mapping[str, Value]]) -> Iterator[tuple[str, dict[str, Value]]]:
    """Yield as few combinations of the fields' `choices` as suffice to test each value once."""
    columns = {name: list(values.values()) for name, values in choices.items()}
    for row in range(max(map(len, columns.values()), default=0)):
        values = {name: values[row % len(values)] for name, values in columns.items()}
        yield f"value {row + 1} of each field", values


def unknown(kind: types.Enumerated) -> list[int]:
    """Return numbers that an enum lacks: those next to its values, and the limits of its type."""
    base, known = kind.base, {value.number for value in kind.members}
    near = {number + step for number in known for step in (-1, 1)}
    inside = {number for number in near if base.minimum <= number <= base.maximum}
    return sorted((inside | {base.minimum, base.maximum}) - known)


def quiet_nan(kind: types.Float) -> int:
    """Return the bits of a quiet NaN, the kind of NaN that no conversion changes."""
    lowest = kind.exponent & -kind.exponent
    return kind.exponent | lowest >> 1


def full(kind: types.ByteList) -> tuple[bytes, ...]:
    """Return the byte strings of the largest list that the bounds of `kind` allow.

    The result is empty if the maximum total size has room for more than `MAX_FILLED` of the
    longest items.
    """
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


def is_large(fields: Iterable[types.Field]) -> bool:
    """Return True if the fields have too many values to test each in a vector of its own."""
    return sum(_leaves(field.type) for field in fields) > _MAX_LEAVES


def is_huge(fields: Iterable[types.Field]) -> bool:
    """Return True if a body with these fields always has too many values for a test vector."""
    return sum(_count(field.type) for field in fields) > _MAX_VALUES


def _count(kind: types.Type) -> int:
    """Return the number of values in a struct or an array; 1 for types without elements."""
    match kind:
        case types.Struct(fields=fields):
            return sum(_count(field.type) for field in fields)
        case types.Array(is_octets=False, element=element, count=count):
            return count * _count(element)
    return 1


def _leaves(kind: types.Type) -> int:
    """Count the numbers and strings in a value of a type, but of an array only two elements."""
    match kind:
        case types.Struct(fields=fields):
            return sum(_leaves(field.type) for field in fields)
        case types.Array(is_octets=False, element=element, count=count):
            return min(count, 2) * _leaves(element)
        case types.List(element=element):
            return 1 + 2 * _leaves(element)
    return 1


def _floats(kind: types.Float) -> dict[str, Value]:
    sign, infinity = 1 << 8 * kind.size - 1, kind.exponent
    one = infinity >> 1 & infinity
    edges: dict[str, Value] = {"zero": 0, "-0": sign, "1": one, "-1": sign | one, "subnormal": 1}
    if not kind.finite:
        edges |= {"infinity": infinity, "-infinity": sign | infinity}
        # Do not test a signalling NaN, because conversions in some languages change its bits.
        edges |= {"quiet NaN": quiet_nan(kind)}
    return edges | {"largest": infinity - 1}


def _bits(kind: types.Flags) -> dict[str, Value]:
    found: dict[str, Value] = {"none": 0, **{bit.name: bit.mask for bit in kind.members}}
    if not kind.closed and kind.mask != kind.base.maximum:
        found["unknown bits"] = kind.base.maximum & ~kind.mask
    return found | {"every bit": kind.mask if kind.closed else kind.base.maximum}


def _structs(fields: Sequence[types.Field]) -> dict[str, Value]:
    choices = {field.name: values_of(field) for field in fields}
    most = {name: list(values.values())[-1] for name, values in choices.items()}
    return {**dict(combined(choices)), "the most": most}


def _arrays(kind: types.Array) -> dict[str, Value]:
    """Return arrays to test: for each value of an element to test, an array that begins with it.

    For an array of `u8`, whose value is a byte string, only three values are tested.
    """
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


def _byte_lists(kind: types.ByteList) -> Iterator[tuple[str, Value]]:
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


def _lists(kind: types.List) -> Iterator[tuple[str, Value]]:
    yield "empty", ()
    elements = values(kind.element)
    for label, value in elements.items():
        yield f"one item, {label}", (value,)
    yield "all different items", tuple(elements.values())[: kind.max_items]
    if kind.max_items * _count(kind.element) <= MAX_FILLED:
        yield "most items", (least(kind.element),) * kind.max_items
        yield "longest", (list(elements.values())[-1],) * kind.max_items

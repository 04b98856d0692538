"""Generate invalid encodings of each type, each with the fault that decoders must report."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TypeAlias

from microvm_proto import types
from microvm_proto.backends.vectors.values import (
    full,
    is_large,
    least,
    least_bytes,
    quiet_nan,
    unknown,
)
from microvm_proto.frame import pack

Faulty: TypeAlias = tuple[str, str, bytes]
"""Description of the error, name of the fault, and invalid bytes."""

_LAST = ("truncated", "total_too_long")
"""Faults after which the body must end, so no further fields follow.

More bytes would make a truncated value complete, or a body longer than allowed.
"""

_ILL_FORMED = {
    "only a continuation byte": b"\x80",
    "only the highest continuation byte": b"\xbf",
    "2 bytes for U+0000": b"\xc0\x80",
    "2 bytes for U+007F": b"\xc1\xbf",
    "3 bytes for U+0000": b"\xe0\x80\x80",
    "3 bytes for U+07FF": b"\xe0\x9f\xbf",
    "4 bytes for U+0000": b"\xf0\x80\x80\x80",
    "4 bytes for U+FFFF": b"\xf0\x8f\xbf\xbf",
    "the surrogate U+D800": b"\xed\xa0\x80",
    "the surrogate U+DFFF": b"\xed\xbf\xbf",
    "U+110000": b"\xf4\x90\x80\x80",
    "the lead byte f5": b"\xf5\x80\x80\x80",
    "the byte ff": b"\xff",
    "1 of 2 bytes": b"\xc3",
    "1 of 3 bytes": b"\xe2",
    "2 of 3 bytes": b"\xe2\x82",
    "1 of 4 bytes": b"\xf0",
    "3 of 4 bytes": b"\xf0\x9f\x98",
    "1 of 2 bytes, then an a": b"\xc3a",
    "2 of 3 bytes, then an a": b"\xe2\x82a",
    "3 of 4 bytes, then an a": b"\xf0\x9f\x98a",
}


def faulty_fields(fields: Sequence[types.Field]) -> Iterator[tuple[str, str, bytes]]:
    """Yield bodies of a message with these fields, in each of which one value is invalid.

    Each result is a tuple of the field's name with a description of the error, the name of the
    fault, and the bytes of all fields.
    """
    yield from _fields(fields, set() if is_large(fields) else None)


def _fields(fields: Sequence[types.Field], seen: set[object] | None) -> Iterator[Faulty]:
    whole = [least_bytes(field) for field in fields]
    for at, field in enumerate(fields):
        before, after = b"".join(whole[:at]), b"".join(whole[at + 1 :])
        for label, fault, data in _value(field.type, field.equals, seen):
            rest = b"" if fault in _LAST else after
            yield f"{field.name}{label}", fault, before + data + rest


def _value(kind: types.Type, equals: int | None, seen: set[object] | None) -> Iterator[Faulty]:
    """Yield invalid encodings of a type, or of the constant `equals`, for each rule not yet `seen`.

    Each result also has the fault that decoders must report, and a description of the error, which
    begins with the path to the error in the value, such as the name of a field in a struct.

    :param equals: The only valid value of the field if it is a constant; otherwise None.
    :param seen: Rules of types whose faults have been yielded already. New rules are added. None to
        yield the faults of every type.
    """
    match kind:
        case types.Struct(fields=fields):
            yield from _labelled(".", _fields(fields, seen))
            return
        case types.Array(is_octets=False, element=element, count=count):
            yield from _elements(element, sorted({0, count - 1}), count, seen)
            return
    is_seen = seen is not None and _rule(kind, equals) in seen
    if seen is not None:
        seen.add(_rule(kind, equals))
    if not is_seen:
        yield from _labelled(", ", _leaf(kind, equals))
    if isinstance(kind, types.List):
        for items in range(1, min(kind.max_items, 2) + 1):
            start = pack(kind.prefix, items)
            found = _elements(kind.element, [items - 1], items, seen)
            yield from ((label, fault, start + data) for label, fault, data in found)


def _elements(
    element: types.Element,
    indices: Sequence[int],
    count: int,
    seen: set[object] | None,
) -> Iterator[Faulty]:
    """Yield encoded arrays of `count` elements: one of them, at one of `indices`, is invalid.

    Rules that are in `seen` are not broken again.
    """
    whole = pack(element, least(element))
    for at in indices:
        for label, fault, data in _value(element, None, seen):
            rest = b"" if fault in _LAST else whole * (count - at - 1)
            yield f"[{at}]{label}", fault, whole * at + data + rest


def _rule(kind: types.Type, equals: int | None) -> object:
    """Return a key that is equal for all types, or constants (`equals`), with the same faults."""
    match kind:
        case types.Enum(closed=rule) | types.Flags(closed=rule) | types.Float(finite=rule):
            return type(kind), rule
        case types.Bytes(nul=rule) | types.Text(nul=rule) | types.ByteList(nul=rule):
            return type(kind), rule
    return type(kind), equals is None


def _leaf(kind: types.Type, equals: int | None) -> Iterator[Faulty]:
    match kind:
        case (
            types.Integer()
            | types.Float()
            | types.Bool()
            | types.Enum()
            | types.Flags()
            | types.Array()
        ):
            yield from _cut(bytes(kind.size))
    match kind:
        case types.Integer() if equals is not None:
            right = pack(kind, equals)
            yield "lowest bit", "unknown_value", bytes([right[0] ^ 1]) + right[1:]
            yield "highest bit", "unknown_value", right[:-1] + bytes([right[-1] ^ 0x80])
        case types.Float(finite=True, exponent=infinity, bits=bits):
            sign = bits.maximum // 2 + 1
            yield "infinity", "not_finite", pack(kind, infinity)
            yield "-infinity", "not_finite", pack(kind, sign | infinity)
            yield "NaN", "not_finite", pack(kind, quiet_nan(kind))
            yield "signalling NaN", "not_finite", pack(kind, infinity | 1)
        case types.Bool():
            yield from ((str(number), "unknown_value", bytes([number])) for number in (2, 255))
        case types.Enum(base=base, closed=True):
            for number in unknown(kind):
                yield str(number), "unknown_value", pack(base, number)
        case types.Flags(base=base, closed=True, mask=mask) if mask != base.maximum:
            other = base.maximum & ~mask
            numbers = {other & -other, 1 << other.bit_length() - 1, base.maximum}
            for number in sorted(numbers):
                yield f"{number:#x}", "unknown_value", pack(base, number)
        case types.Bytes(maximum=maximum, nul=nul):
            yield from _octets(maximum, kind.prefix, nul=nul)
        case types.Text():
            yield from _text(kind)
        case types.ByteList():
            yield from _byte_list(kind)
        case types.List():
            yield from _count(kind)
        case types.Tail(maximum=maximum):
            yield f"{maximum + 1} bytes", "too_long", b"a" * (maximum + 1)


def _labelled(start: str, found: Iterable[Faulty]) -> Iterator[Faulty]:
    return ((f"{start}{label}", fault, data) for label, fault, data in found)


def _cut(whole: bytes) -> Iterator[Faulty]:
    """Yield two truncated encodings: `whole` without its last byte, and no bytes at all."""
    for size in sorted({0, len(whole) - 1}):
        yield f"{size} of {len(whole)} bytes", "truncated", whole[:size]


def _octets(maximum: int, prefix: types.Integer, *, nul: bool) -> Iterator[Faulty]:
    yield from _labelled("length, ", _cut(bytes(prefix.size)))
    for size in sorted({1, maximum}):
        data = pack(prefix, size) + b"a" * (size - 1)
        yield f"{size - 1} of {size} bytes", "truncated", data
    for size in _above(maximum, prefix):
        yield f"length {size}", "too_long", pack(prefix, size)
    if maximum < prefix.maximum:
        data = pack(prefix, maximum + 1) + b"a" * (maximum + 1)
        yield f"{maximum + 1} bytes", "too_long", data
    if not nul:
        yield "1 of 2 bytes, which is NUL", "truncated", pack(prefix, 2) + b"\0"
        for value in sorted({b"\0", b"\0".ljust(maximum, b"a"), b"\0".rjust(maximum, b"a")}):
            label = f"NUL at {value.index(0)} of {len(value)}"
            yield label, "embedded_nul", pack(prefix, len(value)) + value


def _above(maximum: int, prefix: types.Integer) -> list[int]:
    """Return the lowest and the highest length above `maximum` that a length prefix can hold."""
    return sorted({maximum + 1, prefix.maximum}) if maximum < prefix.maximum else []


def _text(kind: types.Text) -> Iterator[Faulty]:
    yield from _octets(kind.maximum, kind.prefix, nul=kind.nul)
    octets = types.Bytes(kind.maximum, kind.nul, kind.prefix)
    for label, data in _ILL_FORMED.items():
        last = kind.maximum - len(data)
        for at in sorted({0, last}) if last >= 0 else ():
            yield f"{label} at {at}", "not_utf8", pack(octets, b"a" * at + data)
    if kind.maximum > 1:
        fault = "not_utf8" if kind.nul else "embedded_nul"
        yield "a NUL, then invalid UTF-8", fault, pack(octets, b"\0\xff")
        yield "invalid UTF-8, then a NUL", fault, pack(octets, b"\xff\0")


def _count(kind: types.ByteList | types.List) -> Iterator[Faulty]:
    yield from _labelled("count, ", _cut(bytes(kind.prefix.size)))
    for count in _above(kind.max_items, kind.prefix):
        yield f"{count} items", "too_many", pack(kind.prefix, count)


def _byte_list(kind: types.ByteList) -> Iterator[Faulty]:
    yield from _count(kind)
    prefix = kind.prefix
    # Test the invalid item as the only item of the list, and after a valid item.
    for before in (), (b"a",):
        start = pack(prefix, len(before) + 1) + pack(kind, before)[prefix.size :]
        for label, fault, data in _octets(kind.max_item, prefix, nul=kind.nul):
            yield f"item {len(before)}, {label}", fault, start + data
    longest = full(kind)
    if len(longest) == prefix.maximum:
        return
    for more in b"", b"a" * kind.max_item:
        yield f"{len(more)} bytes more", "total_too_long", pack(kind, (*longest, more))
    # If an invalid item follows items of the maximum total size, decoders must report the fault of
    # the item, and not that of the total size.
    ahead = pack(prefix, len(longest) + 1) + pack(kind, longest)[prefix.size :]
    last = {fault: data for _, fault, data in _octets(kind.max_item, prefix, nul=kind.nul)}
    for fault, data in last.items() if longest else ():
        yield "an item after the maximum total", fault, ahead + data

"""The fast path of the codec: straight code for each message, right for valid input only.

Where it finds anything else, the slow path of :mod:`fallback` does the work again.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator

from microvm_proto.backends.python.naming import (
    WIDTH,
    by_number,
    call,
    camel,
    layout,
    letter,
    literal,
)
from microvm_proto.schema import Message, Schema
from microvm_proto.types import ByteList, Bytes, Enum, Field, Integer, Tail

HELPERS = """
# The lengths that are frequent: looking one up is faster than packing it.
_LENGTHS = tuple(_I.pack(length) for length in range(1024))


class _Fallback(Exception):
    pass


# The code of each message is fast and takes only what is surely valid. Where it meets one of these
# exceptions, the message's layout, which knows every rule, does the work again.
_FALLBACK_ON = (_Fallback, struct.error, LookupError)


def _put(value: bytes, maximum: int, nul: bool) -> bytes:
    if len(value) > maximum or (not nul and 0 in value):
        raise _Fallback
    return _LENGTHS[len(value)] + value


def _put_list(items: tuple[bytes, ...], safe_size: int, nul: bool) -> bytes:
    # A list of at most `safe_size` bytes breaks none of its bounds.
    parts = [_LENGTHS[len(items)]]
    for item in items:
        parts.append(_LENGTHS[len(item)])
        parts.append(item)
    packed = b"".join(parts)
    if len(packed) > safe_size or (not nul and 0 in b"".join(items)):
        raise _Fallback
    return packed


def _put_tail(value: bytes | memoryview, maximum: int) -> bytes | memoryview:
    if isinstance(value, memoryview):
        value = value.cast("B")
    if len(value) > maximum:
        raise _Fallback
    return value


def _take(frame: bytes, at: int, maximum: int, nul: bool) -> tuple[bytes, int]:
    (size,) = _I.unpack_from(frame, at)
    if size > maximum:
        raise _Fallback
    end = at + 4 + size
    value = frame[at + 4 : end]
    if not nul and 0 in value:
        raise _Fallback
    return value, end


def _take_list(frame: bytes, at: int, safe_size: int, nul: bool) -> tuple[tuple[bytes, ...], int]:
    (count,) = _I.unpack_from(frame, at)
    last = at + safe_size
    at += 4
    if at + 4 * count > last:
        raise _Fallback
    items = []
    for _ in range(count):
        (size,) = _I.unpack_from(frame, at)
        at += 4 + size
        if at > last:
            raise _Fallback
        items.append(frame[at - size : at])
    if not nul and 0 in b"".join(items):
        raise _Fallback
    return tuple(items), at
"""


def _runs(message: Message) -> Iterator[tuple[bool, list[Field]]]:
    """Yield runs of fields: those of fixed length, packed at once, and single others."""
    for fixed, group in itertools.groupby(message.fields, lambda field: field.fixed):
        run = list(group)
        yield from [(True, run)] if fixed else [(False, [field]) for field in run]


def _format(fields: Iterable[Field]) -> str:
    kinds = (field.type for field in fields)
    bases = (kind.base if isinstance(kind, Enum) else kind for kind in kinds)
    letters = (letter(base) for base in bases if isinstance(base, Integer))
    runs = ("".join(run) for _, run in itertools.groupby(letters))
    return "".join(run if len(run) < 3 else f"{len(run)}{run[0]}" for run in runs)


def encode(message: Message) -> Iterator[str]:
    """Yield the methods of a message's class that encode it."""
    yield from _encode_with_tail(message) if message.has_tail else _encode_whole(message)


def _encode_whole(message: Message) -> Iterator[str]:
    yield "def encode(self, version: int = VERSION) -> bytes:"
    yield from _docstring("Encode the whole frame for the version that both sides agreed on.")
    yield from _fast_encode(message, 'b"".join({})')


def _encode_with_tail(message: Message) -> Iterator[str]:
    yield "def encode(self, version: int = VERSION) -> bytes:"
    yield from _docstring("Encode the whole frame for the version that both sides agreed on.")
    yield '    return b"".join(self.encode_parts(version))'
    yield ""
    yield "def encode_parts(self, version: int = VERSION) -> tuple[bytes, bytes | memoryview]:"
    tail = message.fields[-1].name
    yield from _docstring(f"Encode the frame as two parts, of which the second is `{tail}` itself.")
    yield from _fast_encode(message, "{}")


def _docstring(summary: str) -> Iterator[str]:
    yield f'    """{summary}'
    yield ""
    yield "    :raises EncodeError: the protocol, or this version, does not allow the message."
    yield '    """'


def _fast_encode(message: Message, whole: str) -> Iterator[str]:
    fallback = whole.format(f"{layout(message)}.write(self, version)")
    if message.versions[-1] > 1:
        yield f"    if version < {message.versions[-1]}:"
        yield f"        return {fallback}"
    yield "    try:"
    yield from (f"        {line}" for line in _encode_newest(message))
    yield "    except _FALLBACK_ON:"
    yield f"        return {fallback}"


def _encode_newest(message: Message) -> Iterator[str]:
    runs = list(_runs(message))
    tail = ""
    if message.has_tail:
        (field,) = runs.pop()[1]
        yield f"tail = _put_tail(self.{field.name}, {field.max_size})"
        tail = ", tail"
    identifier = {"none": "0", "required": "self.id or None", "any": "self.id"}[message.id]
    if all(fixed for fixed, _ in runs):
        fields = [field for _, run in runs for field in run]
        size = sum(field.max_size for field in fields)
        length = " + ".join([str(size)] * bool(size or not tail) + ["len(tail)"] * bool(tail))
        arguments = [length, str(message.number), "0", identifier, *map(_packed, fields)]
        head = f"_IHHI{_format(fields)}.pack" if fields else "_HEADER.pack"
        if tail:
            yield from call(f"head = {head}", arguments, 12)
            yield "return head, tail"
        else:
            yield from call(f"return {head}", arguments, 12)
        return
    parts = [
        call(f"_{_format(run)}.pack", list(map(_packed, run)), 17) if fixed else [_put(run[0])]
        for fixed, run in runs
    ]
    if len(parts) == 1:
        yield f"body = {parts[0][0]}"
    else:
        yield "parts = ("
        for *lines, end in parts:
            yield from (f"    {line}" for line in (*lines, f"{end},"))
        yield ")"
        yield 'body = b"".join(parts)'
    length = "len(body) + len(tail)" if tail else "len(body)"
    yield f"return _HEADER.pack({length}, {message.number}, 0, {identifier}) + body{tail}"


def _packed(field: Field) -> str:
    if field.equals is not None:
        return literal(field.equals)
    match field.type:
        case Enum(name=name, closed=True):
            return f"{by_number(name)}[self.{field.name}]"
    return f"self.{field.name}"


def _put(field: Field) -> str:
    match field.type:
        case Bytes(maximum=maximum, nul=nul):
            return f"_put(self.{field.name}, {maximum}, {nul})"
        case ByteList(nul=nul):
            return f"_put_list(self.{field.name}, {_safe_size(field.type)}, {nul})"
    raise AssertionError(field)


def _safe_size(kind: ByteList) -> int:
    """Return how many bytes a list, with its count, can take without breaking a bound.

    It is at most 64 KiB, so that copying the list in order to look for a NUL costs little.

    Nor is it so long that it matters that it is copied to be looked at as a whole.
    """
    items = min(kind.max_item + 4, kind.max_total, 4 * kind.max_items + 3, 1 << 16)
    return 4 + items


def decode(message: Message) -> str:
    """Write the function that decodes a message from its body."""
    parameters = "id_: int, frame: bytes, start: int, end: int"
    head = f"def _decode_{message.name}({parameters}) -> {camel(message.name)}:"
    has_id = message.id != "none"
    first = [_decoded(f) for f in message.visible if not message.is_later(f)]
    later = [f"{f.name}={_decoded(f)}" for f in message.visible if message.is_later(f)]
    arguments = [*(["id_"] if has_id else []), *first, *later]
    make = f"{layout(message)}.make" if message.fields else camel(message.name)
    made = call(f"return {make}", arguments, 8 if message.fields else 4)
    if not message.fields:
        unused = ", ".join([*(["id_"] if not has_id else []), "frame", "start", "end"])
        return "\n".join([head, f"    del {unused}", *(f"    {line}" for line in made)])
    lines = [head, "    try:", *(f"        {line}" for line in [*_decode_newest(message), *made])]
    fallback = f"{layout(message)}.read(id_, frame, start, end)"
    return "\n".join([*lines, "    except _FALLBACK_ON:", f"        return {fallback}"])


def _decode_newest(message: Message) -> Iterator[str]:
    at = "start"
    for fixed, fields in _runs(message):
        field, is_last = fields[0], message.fields[-1] in fields
        match field.type:
            case Integer(name="u8") | Enum(base=Integer(name="u8")) if not (fields[1:] or is_last):
                yield f"{_local(field)} = frame[{at}]"
                at = f"{at} + 1"
            case _ if fixed:
                unpack = f"unpack(frame[{at}:end])" if is_last else f"unpack_from(frame, {at})"
                yield from _unpack(list(map(_local, fields)), f"_{_format(fields)}.{unpack}")
                at = f"{at} + {sum(field.max_size for field in fields)}"
            case Bytes(maximum=maximum, nul=nul):
                yield f"{_local(field)}, at = _take(frame, {at}, {maximum}, {nul})"
                at = "at"
            case ByteList(nul=nul) as kind:
                yield f"{_local(field)}, at = _take_list(frame, {at}, {_safe_size(kind)}, {nul})"
                at = "at"
            case Tail(maximum=maximum):
                # The header's length has its bound already, but what comes before may vary.
                if at != "start":
                    wrong = f"end < {at}" + (f" or end > {at} + {maximum}" * ("start" not in at))
                    yield from _fallback_if(wrong)
                rest = f"{at} : end" if " " in at else f"{at}:end"
                yield f"{_local(field)} = memoryview(frame)[{rest}]"
    for field in message.fields:
        if field.equals is not None:
            yield from _fallback_if(f"{_local(field)} != {literal(field.equals)}")
    if not message.has_tail and not message.fields[-1].fixed:
        yield from _fallback_if("at != end")


def _fallback_if(condition: str) -> Iterator[str]:
    yield f"if {condition}:"
    yield "    raise _Fallback"


def _unpack(names: list[str], value: str) -> list[str]:
    """Write an assignment to several names, as a formatter lays it out."""
    joined = f"({names[0]},)" if len(names) == 1 else ", ".join(names)
    if 8 + len(joined) + 3 + len(value) <= WIDTH:
        return [f"{joined} = {value}"]
    if 8 + len(joined) + 4 <= WIDTH:
        return [f"{joined} = (", f"    {value}", ")"]
    return ["(", *(f"    {name}," for name in names), f") = {value}"]


def _decoded(field: Field) -> str:
    name = _local(field)
    match field.type:
        case Enum(name=enum, closed=True):
            return f"{by_number(enum)}[{name}]"
        case Enum(name=enum):
            return f"{by_number(enum)}.get({name}, {name})"
    return name


def _local(field: Field) -> str:
    """Return the name of a field's variable, which is none that every decoder has."""
    return f"{field.name}_" if field.name in ("at", "end", "frame", "start") else field.name


def tables(schema: Schema) -> str:
    """Write the layouts of runs of integers, and the enums by number."""
    formats = {"I"}
    for message in schema.messages:
        formats |= {_format([field]) for field in message.fields if field.fixed}
        runs = list(_runs(message))
        formats |= {_format(fields) for fixed, fields in runs if fixed}
        fixed_fields = [field for fixed, fields in runs for field in fields if fixed]
        if fixed_fields and len(fixed_fields) + message.has_tail == len(message.fields):
            formats.add(f"IHHI{_format(fixed_fields)}")
    lines = ["# Layouts are called as `struct` writes them; IHHI is the header."]
    lines += ['_HEADER = struct.Struct("<IHHI")']
    lines += [
        f'_{name} = struct.Struct("<{name}")'
        for name in sorted(formats, key=lambda name: (len(name), name))
    ]
    used = {f.type.name for m in schema.messages for f in m.fields if isinstance(f.type, Enum)}
    names = [enum.name for enum in schema.enums if enum.name in used]
    lines += [
        f"{by_number(name)} = {{int(value): value for value in {camel(name)}}}" for name in names
    ]
    return "\n".join(lines)

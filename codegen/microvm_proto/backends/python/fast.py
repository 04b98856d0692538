"""Generate the fast path of a Python codec: functions that leave invalid messages to slower code.

The slower, general code of :mod:`plain` encodes or decodes such a message again, and reports its
fault.

Here, a run is a sequence of consecutive fields of fixed size, which one call of the module `struct`
packs. An array or a struct in a run is first packed into bytes by a call of its own.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator

from microvm_proto import types
from microvm_proto.backends.python.naming import (
    WIDTH,
    by_number,
    call,
    header,
    kinds,
    layout,
    letter,
    literal,
    of_format,
    of_prefix,
)
from microvm_proto.backends.python.receiver import sealed
from microvm_proto.backends.python.runtime import FAST
from microvm_proto.framing import Framing
from microvm_proto.schema import Message, Schema

_MAX_FORMAT = 48
"""Maximum length of a run's `struct` format, so that the name derived from it fits on a line."""


def helpers(schema: Schema) -> str:
    """Generate the Python helper functions that the fast path calls."""
    found = [*kinds(schema)]
    # The fast path catches the exceptions that invalid values raise. Floats and texts raise more
    # than the other types: OverflowError and TypeError for floats, UnicodeError for text.
    floats = ", OverflowError, TypeError" if any(isinstance(k, types.Float) for k in found) else ""
    text = ", UnicodeError" if any(isinstance(kind, types.Text) for kind in found) else ""
    frequent = min(1024, schema.prefix.maximum + 1)
    code = FAST.replace("@more@", floats + text).replace("@frequent@", str(frequent))
    return of_prefix(code, schema)


def _code(kind: types.Type) -> str:
    """Return the part of a `struct` format for a value of fixed size, such as `I` for a `u32`."""
    match kind:
        case types.Array(size=size) | types.Struct(size=size):
            return f"{size}s"
    return letter(_scalar(kind))


def _scalar(kind: types.Type) -> types.Scalar:
    if isinstance(kind, types.Scalar):
        return kind
    raise AssertionError(kind)


def _runs(message: Message) -> Iterator[tuple[bool, list[types.Field]]]:
    """Yield a message's fields in groups: runs of fields of fixed size, and single other fields.

    The first item of each pair is True for a run. A very long run is split.
    """
    for fixed, group in itertools.groupby(message.fields, lambda field: field.fixed):
        run: list[types.Field] = []
        width, last = 0, ""
        for field in group:
            code = _code(field.type) if fixed else ""
            width += len(code) + 1 if code != last else 0
            if run and (not fixed or width > _MAX_FORMAT):
                yield fixed, run
                run, width = [], len(code) + 1
            run.append(field)
            last = code
        yield fixed, run


def _format(fields: Iterable[types.Field]) -> str:
    runs = ([*run] for _, run in itertools.groupby(_code(field.type) for field in fields))
    return "".join(
        f"{len(run)}{run[0]}" if len(run) > 2 and len(run[0]) == 1 else "".join(run) for run in runs
    )


def encode(message: Message, plain: str, framing: Framing) -> Iterator[str]:
    """Yield statements that encode a message fast, or by the expression `plain` if that fails."""
    if message.versions[-1] > 1:
        yield f"if version < {message.versions[-1]}:"
        yield f"    return {plain}"
    yield "try:"
    yield from (f"    {line}" for line in _encode_newest(message, framing))
    yield "except _FALLBACK_ON:"
    yield f"    return {plain}"


def _encode_newest(message: Message, framing: Framing) -> Iterator[str]:
    runs = list(_runs(message))
    tail = ""
    if message.has_tail:
        (field,) = runs.pop()[1]
        yield f"tail = _put_tail(self.{field.python_name}, {field.max_size})"
        tail = ", tail"
    yield from _check_finite(message.fields, "self.", 12)
    identifier = {"none": "0", "required": "self.id or None", "any": "self.id"}[message.id]
    if len(runs) < 2 and all(fixed for fixed, _ in runs):
        fields = [field for _, run in runs for field in run]
        size = sum(field.max_size for field in fields)
        length = " + ".join([str(size)] * bool(size or not tail) + ["len(tail)"] * bool(tail))
        packed = (_packed(field, "self") for field in fields)
        arguments = [*header(framing, length, str(message.number), identifier), *packed]
        pack = f"_{framing.letters}{_format(fields)}.pack" if fields else "_HEADER.pack"
        if tail or framing.seals:
            yield from call(f"head = {pack}", arguments, 12)
            yield from _return(framing, "head", tail)
        else:
            yield from call(f"return {pack}", arguments, 12)
        return
    parts = [
        call(f"{of_format(_format(run))}.pack", [_packed(field, "self") for field in run], 17)
        if fixed
        else call(*_put(run[0]), 17)
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
    arguments = header(framing, length, str(message.number), identifier)
    if framing.seals or (framing.resynchronises and tail):
        yield from call("head = _HEADER.pack", arguments, 12)
        yield from _return(framing, "head + body", tail)
    else:
        yield f"return _HEADER.pack({', '.join(arguments)}) + body{tail}"


def _return(framing: Framing, head: str, tail: str) -> Iterator[str]:
    """Yield the Python statement that returns `head` and `tail`, joined if the framing needs that.

    Without joining, the tail is not copied. But a checksum or COBS needs the whole frame.
    """
    if not framing.resynchronises:
        yield f"return {head}{tail}"
        return
    frame = f'b"".join(({head}{tail}))' if tail else head
    yield f"return {sealed(framing, frame)}"


def _packed(field: types.Field, owner: str) -> str:
    """Return the Python expression for a field of `owner`, as an argument of `struct.pack`."""
    value = f"{owner}.{field.python_name}"
    if field.equals is not None:
        return literal(field.equals)
    if field.absent is not None:
        return f"{field.absent} if {value} is None else {value}"
    match field.type:
        case types.Struct(python_name=name):
            return f"_of_{name}({value})"
        case types.Array(is_octets=True, size=size):
            return f"_exactly({value}, {size})"
        case types.Array(element=types.Struct(python_name=name), size=size):
            return f'_exactly(b"".join(map(_of_{name}, {value})), {size})'
        case types.Array(element=element, count=count):
            numbers = _numbers(_scalar(element), value)
            return f"_{count}{letter(_scalar(element))}.pack(*{numbers})"
    return _number(_scalar(field.type), value)


def _number(kind: types.Scalar, value: str) -> str:
    """Return the Python expression that converts `value` to its number on the wire.

    For a closed type, it is a lookup in a dictionary, which fails if the value is unknown.
    """
    match kind:
        case types.Enum(closed=True) | types.Bool() | types.Flags():
            return f"{by_number(kind)}[{value}]"
    return value


def _numbers(kind: types.Scalar, values: str) -> str:
    """Return the Python expression that converts each of `values` to its number on the wire."""
    if isinstance(kind, types.Float) and kind.finite:
        return f"_finite(*{values})"
    number = _number(kind, "each")
    return values if number == "each" else f"[{number} for each in {values}]"


def _put(field: types.Field) -> tuple[str, list[str]]:
    """Return the name of the function that packs a field of variable size, and its arguments."""
    value = f"self.{field.python_name}"
    match field.type:
        case types.Bytes(maximum=maximum, nul=nul):
            return "_put", [value, str(maximum), str(nul)]
        case types.Text(maximum=maximum, nul=nul):
            return "_put", [f"{value}.encode()", str(maximum), str(nul)]
        case types.ByteList(nul=nul):
            return "_put_list", [value, str(_safe_size(field.type)), str(nul)]
        case types.List(element=types.Struct(python_name=name), max_items=items):
            return "_put_structs", [value, str(items), f"_of_{name}"]
        case types.List(element=element, max_items=items):
            numbers = _numbers(_scalar(element), value)
            return "_put_numbers", [numbers, str(items), f'"{letter(_scalar(element))}"']
    raise AssertionError(field)


def _safe_size(kind: types.ByteList) -> int:
    """Return the maximum size at which an encoded list needs no check of its bounds."""
    size = kind.prefix.size
    items = min(kind.max_item + size, kind.max_total, size * (kind.max_items + 1) - 1, 1 << 16)
    return size + items


def decode(message: Message) -> str:
    """Generate the Python function that decodes the body of a message."""
    parameters = "id_: int, frame: bytes, start: int, end: int"
    kind = types.camel(message.python_name)
    head = f"def _decode_{message.python_name}({parameters}) -> {kind}:"
    has_id = message.id != "none"
    first = [_decoded(f) for f in message.visible if not message.is_later(f)]
    later = [f"{f.python_name}={_decoded(f)}" for f in message.visible if message.is_later(f)]
    arguments = [*(["id_"] if has_id else []), *first, *later]
    made = call(f"return {kind}", arguments, 4)
    if message.visible:
        made = call(f"return {kind}.__new__", [kind, *arguments], 8)
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
        name = _local(field)
        match field.type:
            case _ if fixed and not is_last and len(fields) == 1 and _code(field.type) == "B":
                yield f"{name} = frame[{at}]"
                at = f"{at} + 1"
            case _ if fixed:
                unpack = f"unpack(frame[{at}:end])" if is_last else f"unpack_from(frame, {at})"
                value = f"{of_format(_format(fields))}.{unpack}"
                yield from _unpack(list(map(_local, fields)), value, 8)
                at = f"{at} + {sum(field.max_size for field in fields)}"
            case types.Bytes(maximum=maximum, nul=nul) | types.Text(maximum=maximum, nul=nul):
                yield f"{name}, at = _take(frame, {at}, {maximum}, {nul})"
                at = "at"
            case types.ByteList(nul=nul) as kind:
                yield f"{name}, at = _take_list(frame, {at}, {_safe_size(kind)}, {nul})"
                at = "at"
            case types.List(element=element, max_items=items):
                yield f"{name}, at = _take_items(frame, {at}, {items}, {element.size})"
                at = "at"
            case types.Tail(maximum=maximum):
                # The tail is the rest of the body, and the length of the body has been checked. If
                # all fields before the tail have a fixed size, the tail cannot be too long. So
                # check its maximum size only if the size of a field before it varies.
                if at != "start":
                    wrong = f"end < {at}" + (f" or end > {at} + {maximum}" * ("start" not in at))
                    yield from _fallback_if(wrong)
                rest = f"{at} : end" if " " in at else f"{at}:end"
                yield f"{name} = memoryview(frame)[{rest}]"
    for field in message.fields:
        if field.equals is not None:
            yield from _fallback_if(f"{_local(field)} != {literal(field.equals)}")
    yield from _check_finite(message.fields, "", 8)
    if not message.has_tail and not message.fields[-1].fixed:
        yield from _fallback_if("at != end")


def _fallback_if(condition: str) -> Iterator[str]:
    yield f"if {condition}:"
    yield "    raise _Fallback"


def _check_finite(fields: Iterable[types.Field], of: str, margin: int) -> Iterator[str]:
    numbers = [
        f"{of}{field.python_name}" if of else _local(field)
        for field in fields
        if isinstance(field.type, types.Float) and field.type.finite
    ]
    # Insert the code of the function `_finite`, because calling that function would take longer.
    wrong = f"not isfinite({' + '.join(numbers)})"
    if numbers and margin + len(f"if {wrong}:") <= WIDTH:
        yield from _fallback_if(wrong)
    elif numbers:
        yield from call("_finite", numbers, margin)


def _unpack(names: list[str], value: str, margin: int) -> list[str]:
    """Return lines that assign the expression `value` to `names`, at an indent of `margin`."""
    joined = f"({names[0]},)" if len(names) == 1 else ", ".join(names)
    if margin + len(joined) + 3 + len(value) <= WIDTH:
        return [f"{joined} = {value}"]
    function, parenthesis, arguments = value.partition("(")
    if parenthesis and margin + len(joined) + 3 + len(function) + 1 <= WIDTH:
        return [f"{joined} = {function}(", f"    {arguments[:-1]}", ")"]
    if margin + len(joined) + 4 <= WIDTH:
        return [f"{joined} = (", f"    {value}", ")"]
    return ["(", *(f"    {name}," for name in names), f") = {value}"]


def _decoded(field: types.Field) -> str:
    """Return the Python expression that converts a field's unpacked number or bytes to a value."""
    name = _local(field)
    if field.absent is not None:
        return f"None if {name} == {field.absent} else {name}"
    match field.type:
        case types.Text():
            return f"{name}.decode()"
        case types.Struct() as kind:
            return f"_as_{kind.python_name}({_struct(kind)}.unpack({name}))"
        case (
            types.Array(element=types.Struct() as kind) | types.List(element=types.Struct() as kind)
        ):
            return f"tuple(map(_as_{kind.python_name}, {_struct(kind)}.iter_unpack({name})))"
        case types.Array(is_octets=False, element=element, count=count):
            number = _scalar(element)
            return _values(number, f"_{count}{letter(number)}.unpack({name})")
        case types.List(element=element):
            number = _scalar(element)
            return _values(number, f'_numbers("{letter(number)}", {number.size}, {name})')
        case types.Enum() | types.Bool() | types.Flags() as kind:
            return _value(kind, name)
    return name


def _value(kind: types.Scalar, number: str) -> str:
    """Return the Python expression that converts the expression `number` to a value of a type."""
    match kind:
        case types.Enum(closed=False):
            return f"{by_number(kind)}.get({number}, {number})"
    return _number(kind, number)


def _values(kind: types.Scalar, numbers: str) -> str:
    """Return the Python expression that converts the tuple `numbers` to a tuple of values."""
    if isinstance(kind, types.Float) and kind.finite:
        return f"_finite(*{numbers})"
    value = _value(kind, "each")
    return numbers if value == "each" else f"tuple([{value} for each in {numbers}])"


def _local(field: types.Field) -> str:
    """Return the name of a field's variable in a decoder, where names such as `at` are taken."""
    name = field.python_name
    return f"{name}_" if name in ("at", "end", "frame", "start") else name


def _struct(kind: types.Struct) -> str:
    return f"_STRUCT_{kind.python_name.upper()}"


def struct(kind: types.Struct) -> str:
    """Generate the Python code for a struct: its `struct.Struct`, and functions that use it.

    `_of_NAME` packs an instance of the struct's class into bytes. `_as_NAME` creates an instance
    from unpacked values.
    """
    name, made = kind.python_name, types.camel(kind.python_name)
    values = call(f"return {made}.__new__", [made, *map(_decoded, kind.fields)], 4)
    packed = (_packed(field, "value") for field in kind.fields)
    lines = [
        *_layout(kind),
        "",
        "",
        f"def _as_{name}(values: tuple[Any, ...]) -> {made}:",
        *(f"    {line}" for line in _unpack(list(map(_local, kind.fields)), "values", 4)),
        *(f"    {line}" for line in _check_finite(kind.fields, "", 4)),
        *(f"    {line}" for line in values),
        "",
        "",
        f"def _of_{name}(value: {made}) -> bytes:",
        *(f"    {line}" for line in _check_finite(kind.fields, "value.", 4)),
        *(f"    {line}" for line in call(f"return {_struct(kind)}.pack", packed, 4)),
    ]
    return "\n".join(lines)


def _layout(kind: types.Struct) -> list[str]:
    pieces = re.findall(f".{{1,{WIDTH - 8}}}", f"<{_format(kind.fields)}")
    if len(pieces) > 1:
        return [f"{_struct(kind)} = struct.Struct(", *(f'    "{piece}"' for piece in pieces), ")"]
    return call(f"{_struct(kind)} = struct.Struct", [f'"{pieces[0]}"'], 0)


def formats(schema: Schema) -> set[str]:
    """Return the `struct` formats that the fast path uses for runs of fields, and for arrays."""
    found = set()
    for message in schema.messages:
        runs = list(_runs(message))
        found |= {_format(fields) for fixed, fields in runs if fixed}
        if len(runs) - message.has_tail == 1 and runs[0][0]:
            found.add(f"{schema.framing.letters}{_format(runs[0][1])}")
    for kind in kinds(schema):
        match kind:
            case types.Array(is_octets=False, element=element, count=count):
                found |= (
                    {f"{count}{letter(element)}"} if isinstance(element, types.Scalar) else set()
                )
    return found

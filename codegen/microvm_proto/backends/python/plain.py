"""Generate the plain Python codec: a table of fields for each message, and code that interprets it.

The plain codec checks every rule of the schema. In the style `plain` it is the only codec. In the
style `fast` it handles everything that the fast path does not accept: malformed frames, values out
of bounds, and messages of older versions. So faults are only reported by the plain codec.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from microvm_proto import types
from microvm_proto.backends.python.kinds import KINDS
from microvm_proto.backends.python.naming import (
    by_number,
    call,
    default,
    header,
    ids,
    kinds,
    layout,
    letter,
    literal,
    of_format,
    of_prefix,
    zero,
)
from microvm_proto.backends.python.receiver import sealed
from microvm_proto.schema import Message, Schema
from microvm_proto.variants import variant

LAYOUT = """
class _Field:
    def __init__(
        self,
        number: int,
        name: str,
        kind: _Kind,
        *,
        since: int = 1,
        default: object = None,
        attribute: str = "",
    ) -> None:
        self.number = number
        self.name = name
        self.kind = kind
        self.since = since
        self.default = default
        self.attribute = attribute or name

    def is_default(self, value: object) -> bool:
        try:
            return self.kind.write(value, VERSION) == self.kind.write(self.default, VERSION)
        except _Wrong:
            return False


_NO_ID, _SOME_ID, _ANY_ID = range(1), range(1, 1 << @bits@), range(1 << @bits@)


class _Layout(Generic[_T]):
    # Decodes and encodes a message of any version, field by field, and checks every rule.
    def __init__(
        self, kind: Callable[..., _T], name: str, ids: range, *fields: _Field, since: int = 1
    ) -> None:
        self.kind = kind
        self.name = name
        self.ids = ids
        self.fields = fields
        self.since = since

    def read(self, id_: int, frame: bytes, start: int, end: int, version: int = VERSION) -> _T:
        body = memoryview(frame)[start:end]
        values: dict[str, Any] = {} if self.ids is _NO_ID else {"id": id_}
        at = 0
        for field in self.fields:
            value = field.default
            if field.since <= version:
                try:
                    value, at = field.kind.read(body, at, version)
                except _Wrong as wrong:
                    where = HEADER_SIZE + wrong.at
                    raise DecodeError(wrong.fault, where, field.number, field.name) from None
            if not isinstance(field.kind, _Constant):
                values[field.attribute] = value
        if at != len(body):
            raise DecodeError(Fault.TRAILING_BYTES, HEADER_SIZE + at)
        return self.kind(**values)

@if sequence
    def write(self, message: Any, version: int, sequence: int) -> tuple[bytes, bytes | memoryview]:
@else
    def write(self, message: Any, version: int) -> tuple[bytes, bytes | memoryview]:
@end
        if version < self.since:
            reason = f"{self.name} was added in version {self.since}"
            raise EncodeError(Fault.UNKNOWN_TYPE, "type", reason)
        id_ = 0 if self.ids is _NO_ID else message.id
        if id_ not in self.ids:
            reason = f"{id_} is not between {self.ids.start} and 2^@bits@ - 1"
            raise EncodeError(Fault.BAD_ID, "id", reason)
        parts: list[bytes | memoryview] = []
        tail: bytes | memoryview = b""
        for field in self.fields:
            value = getattr(message, field.attribute, None)
            if field.since <= version:
                parts.append(tail)
                try:
                    tail = field.kind.write(value, version)
                except _Wrong as wrong:
                    raise EncodeError(wrong.fault, field.name, wrong.reason) from None
            elif not field.is_default(value):
                only = f"in older versions it can only be {field.default!r}"
                reason = f"it was added in version {field.since}; {only}"
                raise EncodeError(Fault.TRAILING_BYTES, field.name, reason)
        body = b"".join(parts)
@if sequence
        header = _HEADER.pack(@header@)
        return header + body, tail
@else
        return _HEADER.pack(@header@) + body, tail
@end
@if cobs datagram check

@if sequence
    def frame(self, message: Any, version: int, sequence: int) -> bytes:
        parts = self.write(message, version, sequence)
@else
    def frame(self, message: Any, version: int) -> bytes:
        parts = self.write(message, version)
@end
        return @sealed@
@end
"""


def helpers(schema: Schema) -> str:
    """Generate the Python classes that interpret the tables of fields."""
    framing = schema.framing
    text = of_prefix(KINDS + "\n" + variant(LAYOUT, framing), schema)
    packed = header(framing, "len(body) + len(tail)", "message.TYPE", "id_")
    text = text.replace("@header@", ", ".join(packed)).replace("@bits@", str(8 * framing.id))
    return text.replace("@sealed@", sealed(framing, 'b"".join(parts)'))


def later_values(schema: Schema) -> Iterator[str]:
    """Yield a Python dictionary for each closed type: the version that added each later value."""
    grown = {}
    for kind in kinds(schema):
        if isinstance(kind, types.Enumerated) and kind.closed:
            added = (member for member in kind.members if member.since > 1)
            grown[_since(kind)] = {kind.value(member): member.since for member in added}
    for name, later in grown.items():
        if later:
            lines = [f"    {number}: {since}," for number, since in later.items()]
            yield "\n".join([f"{name}: Mapping[int, int] = {{", *lines, "}"])


def _since(kind: types.Enumerated) -> str:
    return f"_SINCE_{kind.python_name.upper()}"


def tables(schema: Schema, more_formats: Iterable[str]) -> str:
    """Generate `struct.Struct` objects, also for `more_formats`, and dictionaries for enums."""
    found = [kind for kind in kinds(schema) if isinstance(kind, types.Scalar)]
    names = {letter(schema.prefix), *map(letter, found), *more_formats}
    header = schema.framing.letters
    lines = [f"# Each layout is named after its format in `struct`; {header} is the header."]
    lines += [f'_HEADER = struct.Struct("<{header}")']
    lines += [
        f'{of_format(name)} = struct.Struct("<{name}")'
        for name in sorted(names, key=lambda name: (len(name), name))
    ]
    named = {
        by_number(kind): kind for kind in found if isinstance(kind, types.Bool | types.Enumerated)
    }
    lines += [f"{name} = {_by_number(kind)}" for name, kind in named.items()]
    return "\n".join(lines)


def _by_number(kind: types.Bool | types.Enumerated) -> str:
    match kind:
        case types.Bool():
            return "{0: False, 1: True}"
        case types.Flags(closed=closed, mask=mask, base=base):
            return (
                f"_Flags({types.camel(kind.python_name)}, 0x{mask if closed else base.maximum:X})"
            )
        case types.Enumerated():
            return f"{{int(value): value for value in {types.camel(kind.python_name)}}}"


def layouts(schema: Schema) -> str:
    """Generate the Python tables of fields, one for each struct and message."""
    structs = (line for struct in schema.structs_in_order for line in _layout_of_struct(struct))
    messages = (line for message in schema.messages for line in _layout_of(message))
    return "\n".join([*structs, *messages])


def zeros(schema: Schema) -> str:
    """Generate Python constants of zeros, for flags and structs that older versions lack."""
    needed = {
        kind.name
        for message in schema.messages
        for field in message.fields
        if message.is_later(field)
        for kind in types.within(field.type)
        if isinstance(kind, types.Flags | types.Struct)
    }
    flags = (flags for flags in schema.flags if flags.name in needed)
    lines = [f"{zero(each)} = {types.camel(each.python_name)}(0)" for each in flags]
    for struct in schema.structs_in_order:
        if struct.name in needed:
            head = f"{zero(struct)} = {types.camel(struct.python_name)}"
            lines += call(head, map(default, struct.fields), 0)
    return "\n".join(lines)


def _layout_of_struct(struct: types.Struct) -> Iterator[str]:
    fields = (f"{field.python_name}={_kind(field.type, field)}" for field in struct.fields)
    head = f"{_of_struct(struct)} = _Struct"
    yield from call(head, [types.camel(struct.python_name), *fields], 0, one_a_line=True)


def _of_struct(struct: types.Struct) -> str:
    return f"_KIND_{struct.python_name.upper()}"


def _layout_of(message: Message) -> Iterator[str]:
    start = [types.camel(message.python_name), f'"{message.name}"', ids(message)]
    end = [f"since={message.since}"] if message.since > 1 else []
    if not message.fields:
        yield from call(f"{layout(message)} = _Layout", [*start, *end], 0)
        return
    yield f"{layout(message)} = _Layout("
    yield from (f"    {argument}," for argument in start)
    for field in message.fields:
        lines = call("_Field", _field(message, field), 4, tail=",")
        yield from (f"    {line}" for line in lines)
    yield from (f"    {argument}," for argument in end)
    yield ")"


def _field(message: Message, field: types.Field) -> Iterator[str]:
    yield from (str(field.number), f'"{field.name}"', _kind(field.type, field))
    if message.is_later(field):
        yield f"since={field.since}"
        yield from [f"default={default(field)}"] if field.equals is None else []
    if field.python_name != field.name:
        yield f'attribute="{field.python_name}"'


def _kind(kind: types.Type, field: types.Field | None = None) -> str:
    """Return a Python expression for the object that encodes and decodes values of a type."""
    match kind:
        case types.Integer() if field and field.equals is not None:
            return f"_Constant(_{letter(kind)}, {literal(field.equals)})"
        case types.Integer() if field and field.absent is not None:
            return f"_Absent(_{letter(kind)}, {field.absent})"
        case types.Float(finite=True):
            return f"_Finite(_{letter(kind)})"
        case types.Integer() | types.Float():
            return f"_Number(_{letter(kind)})"
        case types.Bool():
            return f"_Closed(_{letter(kind)}, {by_number(kind)})"
        case types.Enum(closed=False):
            return f"_Open(_{letter(kind)}, {by_number(kind)})"
        case types.Enumerated(members=members, closed=closed):
            grown = closed and any(member.since > 1 for member in members)
            sinces = f", {_since(kind)}" if grown else ""
            name = "_Bits" if isinstance(kind, types.Flags) else "_Closed"
            return f"{name}(_{letter(kind)}, {by_number(kind)}{sinces})"
        case types.Struct():
            return _of_struct(kind)
        case types.Array(is_octets=True, count=count):
            return f"_Octets({count})"
        case types.Array(element=element, count=count):
            return f"_Array({_kind(element)}, {count})"
        case types.Bytes(maximum=maximum, nul=nul) | types.Text(maximum=maximum, nul=nul):
            return f"_{kind.name.capitalize()}({maximum}, nul={nul})"
        case types.ByteList(max_items=items, max_item=item, max_total=total, nul=nul):
            return f"_List(_Bytes({item}, nul={nul}), {items}, {total})"
        case types.List(element=element, max_items=items):
            return f"_List({_kind(element)}, {items})"
        case types.Tail(maximum=maximum):
            return f"_Tail({maximum})"

"""Python: a codec without I/O, in one module that imports only the standard library."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator

from microvm_proto.faults import FAULTS
from microvm_proto.schema import (
    ByteList,
    Bytes,
    Enum,
    EnumValue,
    Field,
    Integer,
    Message,
    Schema,
    Tail,
)

WIDTH = 100


def emit(schema: Schema, file: str) -> dict[str, str]:
    """The codec's one module."""
    source = schema.path.name
    parts = [
        _docstring(
            0,
            f"The wire protocol of {schema.name}, version {schema.version}: a codec without I/O.",
            [f"Generated from {source} by `microvm-proto gen`. {schema.doc}"],
        )
        + "\n"
        + (_IMPORTS if schema.messages else _IMPORTS.replace("ClassVar", "Never"))
        + _constants(schema),
        _fault_enum(),
        *(_enum(enum) for enum in schema.enums),
        _ERRORS,
        *(_message(message) for message in schema.messages),
        _union(schema),
        _HELPERS,
        *(_decode(message) for message in schema.messages),
        _rules(schema),
        _DECODER,
    ]
    return {file: "\n\n\n".join(part.strip("\n") for part in parts) + "\n"}


def camel(name: str) -> str:
    """`exec_request` as `ExecRequest`."""
    return "".join(word.capitalize() for word in name.split("_"))


def _docstring(indent: int, text: str, paragraphs: Iterable[str] = ()) -> str:
    margin = " " * indent
    summary, _, rest = text.replace("\n", " ").partition(". ")
    blocks = [f"{summary.rstrip('.')}.", *([rest] if rest else []), *paragraphs]
    blocks = [block.replace('"""', "'''") for block in blocks]
    lines = [
        line
        for number, block in enumerate(blocks)
        for line in ([""] if number else []) + _wrapped(block, indent, 3 if number == 0 else 0)
    ]
    quote = 'r"""' if any("\\" in line for line in lines) else '"""'
    if len(lines) == 1:
        return f'{margin}{quote}{lines[0]}"""'
    body = "\n".join(f"{margin}{line}".rstrip() for line in lines[1:])
    return f'{margin}{quote}{lines[0]}\n{body}\n{margin}"""'


def _wrapped(block: str, indent: int, quotes: int) -> list[str]:
    # A field's lines hang under its name; the first line has quotes on both of its sides.
    hanging = "    " if block.startswith(":ivar") else ""
    return [
        line
        for paragraph in block.split("\n:ivar ")
        for line in textwrap.wrap(
            paragraph if paragraph.startswith(":ivar") or not hanging else f":ivar {paragraph}",
            WIDTH - indent - 2 * quotes,
            subsequent_indent=hanging,
            break_long_words=False,
            break_on_hyphens=False,
        )
    ]


def _constants(schema: Schema) -> str:
    return f"""
VERSION = {schema.version}
DIGEST = 0x{schema.digest:016X}
HEADER_SIZE = 12
MAX_BODY = {schema.max_body}
END_NAMES = ("{schema.ends[0]}", "{schema.ends[1]}")
"""


def _fault_enum() -> str:
    values = [EnumValue(fault.name, fault.number, fault.doc, 1) for fault in FAULTS]
    return _enum_class("Fault", "How a frame is malformed.", values)


def _enum(enum: Enum) -> str:
    return _enum_class(camel(enum.name), enum.doc, enum.values)


def _enum_class(name: str, doc: str, values: Iterable[EnumValue]) -> str:
    lines = [f"class {name}(enum.IntEnum):", _docstring(4, doc or f"{name}."), ""]
    for value in values:
        lines.append(f"    {value.name.upper()} = {value.number}")
        if value.doc:
            lines.append(_docstring(4, value.doc))
    return "\n".join(lines)


def _annotation(field: Field) -> str:
    match field.type:
        case Integer():
            return "int"
        case Enum(name=name, closed=closed):
            return camel(name) if closed else f"{camel(name)} | int"
        case Bytes():
            return "bytes"
        case ByteList():
            return "tuple[bytes, ...]"
        case Tail():
            return "bytes | memoryview"


def _bounds(field: Field) -> str:
    nul = ", without NUL"
    match field.type:
        case Bytes(maximum=maximum, nul=allowed):
            return f" At most {maximum} bytes{'' if allowed else nul}."
        case ByteList(max_items=items, max_item=item, max_total=total, nul=allowed):
            return (
                f" At most {items} items of at most {item} bytes{'' if allowed else nul}; "
                f"at most {total} bytes in all, 4 more for each item included."
            )
        case Tail(maximum=maximum):
            return f" At most {maximum} bytes."
    return ""


def _visible(message: Message) -> list[Field]:
    return [field for field in message.fields if field.equals is None]


def _message(message: Message) -> str:
    fields = _visible(message)
    has_id = message.id != "none"
    docs = [":ivar id: What it is about."] if has_id else []
    docs += [f":ivar {field.name}: {field.doc}{_bounds(field)}" for field in fields]
    lines = [
        "@dataclass(frozen=True, slots=True)",
        f"class {camel(message.name)}:",
        _docstring(4, message.doc or f"{message.name}.", ["\n".join(docs)] if docs else []),
        "",
        f"    TYPE: ClassVar[int] = {message.number}",
        f"    MAX_BODY: ClassVar[int] = {message.max_body}",
        "",
    ]
    lines += ["    id: int"] if has_id else []
    lines += [f"    {field.name}: {_annotation(field)}" for field in fields]
    lines += [""] if has_id or fields else []
    lines += ["    def encode(self) -> bytes:", '        """Write the whole frame."""']
    lines += _encode_body(message)
    return "\n".join(lines)


def _encode_body(message: Message) -> Iterator[str]:
    identifier = {"none": "0", "required": "_out_id(self.id, 1)", "any": "_out_id(self.id, 0)"}[
        message.id
    ]
    parts = [_encode_field(field) for field in message.fields]
    if not parts:
        yield f"        return _frame({message.number}, {identifier}, ())"
        return
    if len(parts) == 1:
        yield f"        parts = ({parts[0]},)"
    else:
        yield "        parts = ("
        yield from (f"            {part}," for part in parts)
        yield "        )"
    yield f"        return _frame({message.number}, {identifier}, parts)"


def _encode_field(field: Field) -> str:
    name = f"self.{field.name}" if field.equals is None else _literal(field.equals)
    match field.type:
        case Integer(name=kind):
            return f'_out_int(_{kind.upper()}, {name}, "{field.name}")'
        case Enum(name=enum, base=base, closed=True):
            value = f'_closed({camel(enum)}, {name}, "{field.name}")'
            return f'_out_int(_{base.name.upper()}, {value}, "{field.name}")'
        case Enum(base=base):
            return f'_out_int(_{base.name.upper()}, {name}, "{field.name}")'
        case Bytes(maximum=maximum, nul=nul):
            return f'_out_bytes({name}, {maximum}, {nul}, "{field.name}")'
        case ByteList(max_items=items, max_item=item, max_total=total, nul=nul):
            return f'_out_list({name}, ({items}, {item}, {total}), {nul}, "{field.name}")'
        case Tail(maximum=maximum):
            return f'_out_tail({name}, {maximum}, "{field.name}")'


def _literal(number: int) -> str:
    return f"0x{number:X}" if number > 9 else str(number)


def _union(schema: Schema) -> str:
    names = [camel(message.name) for message in schema.messages]
    if not names:
        return "Message: TypeAlias = Never"
    line = f"Message: TypeAlias = {' | '.join(names)}"
    if len(line) <= WIDTH:
        return line
    return "Message: TypeAlias = (\n    " + "\n    | ".join(names) + "\n)"


def _decode(message: Message) -> str:
    lines = [f"def _decode_{message.name}(id_: int, body: memoryview) -> {camel(message.name)}:"]
    at = "0"
    for number, field in enumerate(message.fields, 1):
        lines += [f"    {line}" for line in _decode_field(field, number, at)]
        at = "at"
    if not message.fields or not isinstance(message.fields[-1].type, Tail):
        lines.append(f"    _end(body, {at})")
    arguments = (["id_"] if message.id != "none" else []) + [_local(f) for f in _visible(message)]
    lines += _call(f"    return {camel(message.name)}", arguments)
    if message.id == "none":
        lines.insert(1, "    del id_")
    return "\n".join(lines)


def _call(head: str, arguments: list[str]) -> list[str]:
    """A call as a formatter lays it out: in one line, or its arguments in one, or one a line."""
    joined = ", ".join(arguments)
    if len(head) + len(joined) + 2 <= WIDTH:
        return [f"{head}({joined})"]
    if len(joined) + 8 <= WIDTH:
        return [f"{head}(", f"        {joined}", "    )"]
    return [f"{head}(", *(f"        {argument}," for argument in arguments), "    )"]


def _local(field: Field) -> str:
    """The field's variable, out of the way of those that every decoder has."""
    return f"{field.name}_" if field.name in ("at", "body", "constant", "number") else field.name


def _decode_field(field: Field, number: int, at: str) -> Iterator[str]:
    where = f'{number}, "{field.name}"'
    name = _local(field) if field.equals is None else "constant"
    match field.type:
        case Integer(name=kind):
            yield f"{name}, at = _in_int(_{kind.upper()}, body, {at}, {where})"
        case Enum(name=enum, base=base, closed=closed):
            yield f"number, at = _in_int(_{base.name.upper()}, body, {at}, {where})"
            if closed:
                yield f"{name} = _in_closed({camel(enum)}, number, at - {base.size}, {where})"
            else:
                yield f"{name} = _in_open({camel(enum)}, number)"
        case Bytes(maximum=maximum, nul=nul):
            yield f"{name}, at = _in_bytes(body, {at}, {maximum}, {nul}, {where})"
        case ByteList(max_items=items, max_item=item, max_total=total, nul=nul):
            bounds = f"({items}, {item}, {total})"
            yield f"{name}, at = _in_list(body, {at}, {bounds}, {nul}, {where})"
        case Tail(maximum=maximum):
            yield f"{name} = _in_tail(body, {at}, {maximum}, {where})"
    if field.equals is not None:
        yield f"if constant != {_literal(field.equals)}:"
        yield f"    raise _fault(Fault.UNKNOWN_VALUE, at - {field.max_size}, {where})"


def _rules(schema: Schema) -> str:
    lines = [
        "_RULES: Mapping[int, _Rule] = {",
        *(
            f'    {m.number}: _Rule(_decode_{m.name}, "{m.sender}", "{m.id}", {m.max_body}),'
            for m in schema.messages
        ),
        "}",
    ]
    if not schema.messages:
        lines = ["_RULES: Mapping[int, _Rule] = {}"]
    return _RULE.strip("\n") + "\n\n\n" + "\n".join(lines)


_IMPORTS = """
from __future__ import annotations

import enum
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, TypeAlias, TypeVar
"""

_ERRORS = '''
class DecodeError(Exception):
    """A malformed frame; nothing after it on its stream can be trusted.

    :ivar fault: how it is malformed.
    :ivar offset: where, in bytes from the start of the frame.
    :ivar field_number: which field of the message, from 1; 0 for the header.
    :ivar field: that field's name; empty for the header.
    """

    def __init__(self, fault: Fault, offset: int, field_number: int = 0, field: str = "") -> None:
        where = f"{field} " if field else ""
        super().__init__(f"{where}{fault.name.lower()} at offset {offset}")
        self.fault = fault
        self.offset = offset
        self.field_number = field_number
        self.field = field


class EncodeError(ValueError):
    """A message that the protocol does not allow; nothing of it is sent.

    :ivar fault: what a decoder would have said.
    :ivar field: the field that is wrong; `id` for the header's.
    """

    def __init__(self, fault: Fault, field: str, reason: str) -> None:
        super().__init__(f"{field}: {reason}")
        self.fault = fault
        self.field = field
'''

_HELPERS = """
_E = TypeVar("_E", bound=enum.IntEnum)

_HEADER = struct.Struct("<IHHI")
_U8 = struct.Struct("<B")
_U16 = struct.Struct("<H")
_U32 = struct.Struct("<I")
_U64 = struct.Struct("<Q")
_I8 = struct.Struct("<b")
_I16 = struct.Struct("<h")
_I32 = struct.Struct("<i")
_I64 = struct.Struct("<q")

# The lengths that are frequent: looking one up is faster than packing it.
_LENGTHS = tuple(_U32.pack(length) for length in range(1024))


def _frame(number: int, id_: int, parts: Sequence[bytes | memoryview]) -> bytes:
    if len(parts) == 1:
        return _HEADER.pack(len(parts[0]), number, 0, id_) + parts[0]
    return b"".join((_HEADER.pack(sum(map(len, parts)), number, 0, id_), *parts))


def _out_id(id_: int, least: int) -> int:
    if not least <= id_ <= 0xFFFFFFFF:
        raise EncodeError(Fault.BAD_ID, "id", f"{id_} is not between {least} and 2^32 - 1")
    return id_


def _closed(kind: type[_E], value: int, field: str) -> int:
    if isinstance(value, kind):
        return value
    try:
        return kind(value)
    except ValueError as error:
        raise EncodeError(Fault.UNKNOWN_VALUE, field, str(error)) from None


def _out_int(layout: struct.Struct, value: int, field: str) -> bytes:
    try:
        return layout.pack(value)
    except struct.error as error:
        raise EncodeError(Fault.UNKNOWN_VALUE, field, f"{value}: {error}") from None


def _out_bytes(value: bytes, maximum: int, nul: bool, field: str) -> bytes:
    if len(value) > maximum:
        reason = f"{len(value)} bytes, and at most {maximum} are allowed"
        raise EncodeError(Fault.TOO_LONG, field, reason)
    if not nul and 0 in value:
        raise EncodeError(Fault.EMBEDDED_NUL, field, "contains a NUL byte")
    return _U32.pack(len(value)) + value


def _out_list(
    items: tuple[bytes, ...], bounds: tuple[int, int, int], nul: bool, field: str
) -> bytes:
    max_items, max_item, max_total = bounds
    size = sum(map(len, items))
    if (
        len(items) <= max_items
        and size + 4 * len(items) <= max_total
        and size <= max_item
        and (nul or 0 not in b"".join(items))
    ):
        return b"".join((_U32.pack(len(items)), *_blocks(items)))
    # Nothing is sure about all of them together, so each is looked at.
    if len(items) > max_items:
        reason = f"{len(items)} items, and at most {max_items} are allowed"
        raise EncodeError(Fault.TOO_MANY, field, reason)
    parts = [_U32.pack(len(items))]
    total = 0
    for item in items:
        parts.append(_out_bytes(item, max_item, nul, field))
        total += len(parts[-1])
        if total > max_total:
            reason = f"{total} bytes or more in all, and at most {max_total} are allowed"
            raise EncodeError(Fault.TOTAL_TOO_LONG, field, reason)
    return b"".join(parts)


def _blocks(items: tuple[bytes, ...]) -> list[bytes]:
    try:
        return [_LENGTHS[len(item)] + item for item in items]
    except IndexError:
        return [_U32.pack(len(item)) + item for item in items]


def _out_tail(value: bytes | memoryview, maximum: int, field: str) -> bytes | memoryview:
    if isinstance(value, memoryview):
        value = value.cast("B")
    if len(value) > maximum:
        reason = f"{len(value)} bytes, and at most {maximum} are allowed"
        raise EncodeError(Fault.TOO_LONG, field, reason)
    return value


def _fault(fault: Fault, at: int, number: int, field: str) -> DecodeError:
    return DecodeError(fault, HEADER_SIZE + at, number, field)


def _in_int(
    layout: struct.Struct, body: memoryview, at: int, number: int, field: str
) -> tuple[int, int]:
    try:
        return layout.unpack_from(body, at)[0], at + layout.size
    except struct.error:
        raise _fault(Fault.TRUNCATED, at, number, field) from None


def _in_closed(kind: type[_E], value: int, at: int, number: int, field: str) -> _E:
    # Calling the enum takes three times as long.
    member = kind._value2member_map_.get(value)
    if isinstance(member, kind):
        return member
    raise _fault(Fault.UNKNOWN_VALUE, at, number, field)


def _in_open(kind: type[_E], value: int) -> _E | int:
    member = kind._value2member_map_.get(value)
    return member if isinstance(member, kind) else value


def _in_bytes(
    body: memoryview, at: int, maximum: int, nul: bool, number: int, field: str
) -> tuple[bytes, int]:
    size, start = _in_int(_U32, body, at, number, field)
    if size > maximum:
        raise _fault(Fault.TOO_LONG, at, number, field)
    end = start + size
    if end > len(body):
        raise _fault(Fault.TRUNCATED, start, number, field)
    value = body[start:end].tobytes()
    if not nul and 0 in value:
        raise _fault(Fault.EMBEDDED_NUL, start + value.index(0), number, field)
    return value, end


def _in_list(
    body: memoryview, at: int, bounds: tuple[int, int, int], nul: bool, number: int, field: str
) -> tuple[tuple[bytes, ...], int]:
    max_items, max_item, max_total = bounds
    count, start = _in_int(_U32, body, at, number, field)
    if count > max_items:
        raise _fault(Fault.TOO_MANY, at, number, field)
    items = []
    at = start
    for _ in range(count):
        item, end = _in_bytes(body, at, max_item, nul, number, field)
        if end - start > max_total:
            raise _fault(Fault.TOTAL_TOO_LONG, at, number, field)
        items.append(item)
        at = end
    return tuple(items), at


def _in_tail(body: memoryview, at: int, maximum: int, number: int, field: str) -> memoryview:
    if len(body) - at > maximum:
        raise _fault(Fault.TOO_LONG, at, number, field)
    return body[at:]


def _end(body: memoryview, at: int) -> None:
    if at != len(body):
        raise DecodeError(Fault.TRAILING_BYTES, HEADER_SIZE + at)
"""

_RULE = """
@dataclass(frozen=True, slots=True)
class _Rule:
    decode: Callable[[int, memoryview], Message]
    sender: str
    id: str
    max_body: int
"""

_DECODER = '''
class Decoder:
    """Turns the bytes that one side sends into messages, however they are cut.

    Feed it with :meth:`receive_data`, then take messages with :meth:`next_message` until that
    returns None. It holds at most one frame beyond what it was fed last, and checks a frame's
    length before it keeps any of its body.
    """

    def __init__(self, sender: str) -> None:
        """Decode what `sender` sends, one of END_NAMES."""
        if sender not in END_NAMES:
            raise ValueError(f"{sender!r} is neither of {END_NAMES}")
        self._sender = sender
        self._chunk = memoryview(b"")
        self._at = 0
        self._partial = bytearray()
        self._error: DecodeError | None = None

    def receive_data(self, data: bytes) -> None:
        """Take the next bytes of the stream; messages may refer to `data` without a copy."""
        if self._error is not None:
            return
        if self._at < len(self._chunk):
            data = b"".join((self._chunk[self._at :], data))
        self._chunk = memoryview(data)
        self._at = 0

    def next_message(self) -> Message | None:
        """Return the next whole message, or None when more bytes are needed.

        A tail is a view of the bytes that were fed; everything else is a copy.

        :raises DecodeError: the stream is malformed here; every later call raises it again.
        """
        if self._error is not None:
            raise self._error
        try:
            return self._completed() if self._partial else self._whole()
        except DecodeError as error:
            self._error = error
            self._drop()
            self._partial.clear()
            raise

    def _drop(self) -> None:
        self._chunk = memoryview(b"")
        self._at = 0

    def _whole(self) -> Message | None:
        chunk, start = self._chunk, self._at + HEADER_SIZE
        if start <= len(chunk):
            rule, id_, length = self._header(chunk, self._at)
            end = start + length
            if end <= len(chunk):
                self._at = end
                return rule.decode(id_, chunk[start:end])
        self._partial += chunk[self._at :]
        self._drop()
        return None

    def _completed(self) -> Message | None:
        if not self._fill(HEADER_SIZE):
            return None
        rule, id_, length = self._header(self._partial)
        if not self._fill(HEADER_SIZE + length):
            return None
        frame = memoryview(bytes(self._partial))
        self._partial.clear()
        return rule.decode(id_, frame[HEADER_SIZE:])

    def _fill(self, size: int) -> bool:
        missing = size - len(self._partial)
        if missing > 0:
            piece = self._chunk[self._at : self._at + missing]
            self._partial += piece
            self._at += len(piece)
        return len(self._partial) >= size

    def _header(self, frame: memoryview | bytearray, at: int = 0) -> tuple[_Rule, int, int]:
        length, number, flags, id_ = _HEADER.unpack_from(frame, at)
        rule = _RULES.get(number)
        if rule is None:
            raise DecodeError(Fault.UNKNOWN_TYPE, 4)
        if rule.sender not in (self._sender, "both"):
            raise DecodeError(Fault.BAD_DIRECTION, 4)
        if flags:
            raise DecodeError(Fault.RESERVED_FLAGS, 6)
        if (rule.id == "required" and id_ == 0) or (rule.id == "none" and id_ != 0):
            raise DecodeError(Fault.BAD_ID, 8)
        if length > rule.max_body:
            raise DecodeError(Fault.BODY_TOO_LONG, 0)
        return rule, id_, length
'''

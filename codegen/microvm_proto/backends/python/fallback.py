"""The slow path of the codec: a table of each message's fields, with every rule of the schema.

It encodes and decodes what the fast path does not take: malformed frames, values out of bounds,
older versions. So it is the one that names a fault.
"""

from __future__ import annotations

from collections.abc import Iterator

from microvm_proto.backends.python.naming import (
    call,
    camel,
    default,
    ids,
    layout,
    letter,
    literal,
)
from microvm_proto.schema import Message, Schema
from microvm_proto.types import ByteList, Bytes, Enum, Field, Integer, Tail

HELPERS = """
class _Field:
    def __init__(self, number: int, name: str, *, since: int = 1, default: object = None) -> None:
        self.number = number
        self.name = name
        self.since = since
        self.default = default

    def read(self, body: memoryview, at: int, version: int) -> tuple[Any, int]:
        raise NotImplementedError

    def write(self, value: Any, version: int) -> bytes | memoryview:
        raise NotImplementedError

    def malformed(self, fault: Fault, at: int) -> DecodeError:
        return DecodeError(fault, HEADER_SIZE + at, self.number, self.name)

    def refused(self, fault: Fault, reason: str) -> EncodeError:
        return EncodeError(fault, self.name, reason)

    def too_long(self, size: int, maximum: int) -> EncodeError:
        return self.refused(Fault.TOO_LONG, f"{size} bytes, and at most {maximum} are allowed")


class _Integer(_Field):
    def __init__(self, number: int, name: str, layout: struct.Struct, **later: Any) -> None:
        super().__init__(number, name, **later)
        self.layout = layout

    def read(self, body: memoryview, at: int, version: int) -> tuple[Any, int]:
        try:
            return self.layout.unpack_from(body, at)[0], at + self.layout.size
        except struct.error:
            raise self.malformed(Fault.TRUNCATED, at) from None

    def write(self, value: Any, version: int) -> bytes:
        try:
            return self.layout.pack(value)
        except struct.error as error:
            raise self.refused(Fault.UNKNOWN_VALUE, f"{value}: {error}") from None


class _Constant(_Integer):
    def read(self, body: memoryview, at: int, version: int) -> tuple[Any, int]:
        value, end = super().read(body, at, version)
        if value != self.default:
            raise self.malformed(Fault.UNKNOWN_VALUE, at)
        return value, end


class _Open(_Integer):
    def __init__(
        self, number: int, name: str, layout: struct.Struct, kind: type[enum.IntEnum], **later: Any
    ) -> None:
        super().__init__(number, name, layout, **later)
        self.kind = kind

    def read(self, body: memoryview, at: int, version: int) -> tuple[Any, int]:
        value, end = super().read(body, at, version)
        return self.kind._value2member_map_.get(value, value), end


class _Closed(_Open):
    # The values that came later than their enum have the version in `sinces`.
    def __init__(self, *field: Any, sinces: Mapping[int, int] | None = None, **later: Any) -> None:
        super().__init__(*field, **later)
        self.sinces = sinces or {}

    def read(self, body: memoryview, at: int, version: int) -> tuple[Any, int]:
        value, end = super().read(body, at, version)
        if not isinstance(value, self.kind) or self.sinces.get(value, 1) > version:
            raise self.malformed(Fault.UNKNOWN_VALUE, at)
        return value, end

    def write(self, value: Any, version: int) -> bytes:
        if (since := self.sinces.get(value, 1)) > version:
            raise self.refused(Fault.UNKNOWN_VALUE, f"{value} came with version {since}")
        try:
            return self.layout.pack(self.kind(value))
        except ValueError as error:
            raise self.refused(Fault.UNKNOWN_VALUE, str(error)) from None


class _Bytes(_Field):
    def __init__(self, number: int, name: str, maximum: int, *, nul: bool, **later: Any) -> None:
        super().__init__(number, name, **later)
        self.maximum = maximum
        self.nul = nul

    def prefix(self, body: memoryview, at: int) -> tuple[int, int]:
        try:
            return _I.unpack_from(body, at)[0], at + 4
        except struct.error:
            raise self.malformed(Fault.TRUNCATED, at) from None

    def read(self, body: memoryview, at: int, version: int) -> tuple[Any, int]:
        size, start = self.prefix(body, at)
        if size > self.maximum:
            raise self.malformed(Fault.TOO_LONG, at)
        end = start + size
        if end > len(body):
            raise self.malformed(Fault.TRUNCATED, start)
        value = body[start:end].tobytes()
        if not self.nul and 0 in value:
            raise self.malformed(Fault.EMBEDDED_NUL, start + value.index(0))
        return value, end

    def write(self, value: Any, version: int) -> bytes:
        if len(value) > self.maximum:
            raise self.too_long(len(value), self.maximum)
        if not self.nul and 0 in value:
            raise self.refused(Fault.EMBEDDED_NUL, "contains a NUL byte")
        return b"".join((_I.pack(len(value)), value))


class _List(_Bytes):
    def __init__(self, *field: Any, items: int, total: int, **more: Any) -> None:
        super().__init__(*field, **more)
        self.items = items
        self.total = total

    def read(self, body: memoryview, at: int, version: int) -> tuple[Any, int]:
        count, start = self.prefix(body, at)
        if count > self.items:
            raise self.malformed(Fault.TOO_MANY, at)
        items = []
        at = start
        for _ in range(count):
            item, end = super().read(body, at, version)
            if end - start > self.total:
                raise self.malformed(Fault.TOTAL_TOO_LONG, at)
            items.append(item)
            at = end
        return tuple(items), at

    def write(self, value: Any, version: int) -> bytes:
        if len(value) > self.items:
            reason = f"{len(value)} items, and at most {self.items} are allowed"
            raise self.refused(Fault.TOO_MANY, reason)
        parts = [_I.pack(len(value))]
        total = 0
        for item in value:
            parts.append(super().write(item, version))
            total += len(parts[-1])
            if total > self.total:
                reason = f"{total} bytes or more in all, and at most {self.total} are allowed"
                raise self.refused(Fault.TOTAL_TOO_LONG, reason)
        return b"".join(parts)


class _Tail(_Field):
    def __init__(self, number: int, name: str, maximum: int, **later: Any) -> None:
        super().__init__(number, name, **later)
        self.maximum = maximum

    def read(self, body: memoryview, at: int, version: int) -> tuple[Any, int]:
        if len(body) - at > self.maximum:
            raise self.malformed(Fault.TOO_LONG, at)
        return body[at:], len(body)

    def write(self, value: Any, version: int) -> bytes | memoryview:
        flat: bytes | memoryview = value.cast("B") if isinstance(value, memoryview) else value
        if len(flat) > self.maximum:
            raise self.too_long(len(flat), self.maximum)
        return flat


_NO_ID, _SOME_ID, _ANY_ID = range(1), range(1, 1 << 32), range(1 << 32)


class _Layout(Generic[_T]):
    # Reads and writes a message field by field, with every rule, as any version has it.
    def __init__(
        self, kind: Callable[..., _T], name: str, ids: range, *fields: _Field, since: int = 1
    ) -> None:
        self.kind = kind
        self.make: Callable[..., _T] = getattr(kind, "_make", kind)
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
                value, at = field.read(body, at, version)
            if not isinstance(field, _Constant):
                values[field.name] = value
        if at != len(body):
            raise DecodeError(Fault.TRAILING_BYTES, HEADER_SIZE + at)
        return self.kind(**values)

    def write(self, message: Any, version: int) -> tuple[bytes, bytes | memoryview]:
        if version < self.since:
            reason = f"{self.name} came with version {self.since}"
            raise EncodeError(Fault.UNKNOWN_TYPE, "type", reason)
        id_ = 0 if self.ids is _NO_ID else message.id
        if id_ not in self.ids:
            reason = f"{id_} is not between {self.ids.start} and 2^32 - 1"
            raise EncodeError(Fault.BAD_ID, "id", reason)
        parts: list[bytes | memoryview] = []
        tail: bytes | memoryview = b""
        for field in self.fields:
            value = getattr(message, field.name, field.default)
            if field.since <= version:
                parts.append(tail)
                tail = field.write(value, version)
            elif value != field.default:
                only = f"before which it can only be {field.default!r}"
                reason = f"it came with version {field.since}, {only}"
                raise field.refused(Fault.TRAILING_BYTES, reason)
        body = b"".join(parts)
        return _HEADER.pack(len(body) + len(tail), message.TYPE, 0, id_) + body, tail
"""


def later_values(schema: Schema) -> Iterator[str]:
    """Yield a table for each closed enum that has grown: the version of each new value."""
    fields = [field for message in schema.messages for field in message.fields]
    grown = {f.type.name: f.type for f in fields if isinstance(f.type, Enum) and f.growth}
    for name, enum in grown.items():
        later = {value.number: value.since for value in enum.values if value.since > 1}
        lines = [f"    {number}: {since}," for number, since in later.items()]
        head = f"_SINCE_{name.upper()}: Mapping[int, int] = {{"
        yield "\n".join([head, *lines, "}"])


def layouts(schema: Schema) -> str:
    """Write the layout of each message, from which the slow path works."""
    return "\n".join("\n".join(_layout_of(message)) for message in schema.messages)


def _layout_of(message: Message) -> Iterator[str]:
    arguments = [camel(message.name), f'"{message.name}"', ids(message)]
    arguments += [_field(message, field) for field in message.fields]
    arguments += [f"since={message.since}"] if message.since > 1 else []
    head = f"{layout(message)} = _Layout"
    yield from call(head, arguments, 0, one_a_line=bool(message.fields))


def _field(message: Message, field: Field) -> str:
    arguments = [str(field.number), f'"{field.name}"']
    match field.type:
        case Integer() as integer:
            kind = "_Integer" if field.equals is None else "_Constant"
            arguments.append(f"_{letter(integer)}")
        case Enum(name=name, base=base, closed=closed):
            kind = "_Closed" if closed else "_Open"
            arguments += [f"_{letter(base)}", camel(name)]
            arguments += [f"sinces=_SINCE_{name.upper()}"] if field.growth else []
        case Bytes(maximum=maximum, nul=nul):
            kind = "_Bytes"
            arguments += [str(maximum), f"nul={nul}"]
        case ByteList(max_items=items, max_item=item, max_total=total, nul=nul):
            kind = "_List"
            arguments += [str(item), f"items={items}", f"total={total}", f"nul={nul}"]
        case Tail(maximum=maximum):
            kind = "_Tail"
            arguments.append(str(maximum))
    arguments += [f"since={field.since}"] if message.is_later(field) else []
    if field.equals is not None:
        arguments.append(f"default={literal(field.equals)}")
    elif message.is_later(field):
        arguments.append(f"default={default(field)}")
    return f"{kind}({', '.join(arguments)})"

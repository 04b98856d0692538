"""The Python and C codecs of a schema, built and called in this process to compare them."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

from microvm_proto import frame as reference
from microvm_proto.backends.c.text import c_type
from microvm_proto.backends.c.values import suffix
from microvm_proto.faults import FAULTS
from microvm_proto.schema import Message, Schema
from microvm_proto.types import (
    INTEGERS,
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

from .emitted import compiled
from .messages import made, same
from .values import ListItems, items_of

UNTOUCHED = b"\xa5"
"""Byte that fills the memory that C must not write to."""

_Answer = TypeVar("_Answer")
CODES = {fault.name: fault.number for fault in FAULTS}


class Slice(ctypes.Structure):
    """Bytes field of a message in C."""

    _fields_ = (("data", ctypes.c_char_p), ("size", ctypes.c_uint32))


class CountedBytes(ctypes.Structure):
    """List of bytes in a message in C."""

    _fields_ = (("items", ctypes.c_char_p), ("size", ctypes.c_uint32), ("count", ctypes.c_uint32))


@dataclass(frozen=True)
class ConnectedEnds:
    """The Python and C codecs of one schema in all styles, which must behave identically."""

    schema: Schema
    python: ModuleType
    plain: ModuleType
    libraries: tuple[ctypes.CDLL, ...]
    structs: Mapping[str, type[ctypes.Structure]]

    def check(self, message: Message, version: int, id_: int, body: ctypes.Structure) -> int:
        """Return the fault that C finds before it encodes."""
        given = (version, ctypes.c_uint32(id_), ctypes.byref(body))
        return self._by_each(lambda library: int(library[f"check_{message.name}"](*given)))

    def encode(
        self, message: Message, version: int, id_: int, body: ctypes.Structure, room: int
    ) -> bytes:
        """Return the frame that C encodes; empty if C refuses.

        Check that it writes nothing beyond it.
        """
        given = (ctypes.c_size_t(room), version, ctypes.c_uint32(id_), ctypes.byref(body))

        def encode(library: ctypes.CDLL) -> bytes:
            function = library[f"encode_{message.name}"]
            function.restype = ctypes.c_size_t
            out = ctypes.create_string_buffer(UNTOUCHED * (room + 4), room + 4)
            size = function(out, *given)
            assert size <= room
            assert out.raw[size:].strip(UNTOUCHED) == b""
            return out.raw[:size]

        return self._by_each(encode)

    def decode(
        self, message: Message, frame: bytes, sender: str, version: int
    ) -> tuple[int, int, dict[str, Any]]:
        """Return the fault that C finds in a frame, its id and its fields."""
        # The struct below has room for this message only.
        assert int.from_bytes(frame[4:6], "little") == message.number
        end = self.schema.ends.index(sender) + 1

        def decode(library: ctypes.CDLL) -> tuple[int, int, dict[str, Any]]:
            body = self.structs[message.name]()
            room = ctypes.create_string_buffer(self.schema.max_body + 4096)
            id_ = ctypes.c_uint32()
            fault = library.decode(frame, end, version, room, ctypes.byref(id_))
            ctypes.memmove(ctypes.byref(body), room, ctypes.sizeof(body))
            return fault, id_.value, {} if fault else read(body, message.visible)

        return self._by_each(decode)

    def items(self, message: Message, field: Field, body: ctypes.Structure) -> bytes:
        """Return the items of a list that C writes and reads one by one."""
        size = getattr(body, field.name).size

        def items(library: ctypes.CDLL) -> bytes:
            out = ctypes.create_string_buffer(size)
            library[f"items_{message.name}_{field.name}"](ctypes.byref(body), out)
            return out.raw

        return self._by_each(items)

    def name(self, what: str, number: int) -> str:
        """Return the name of a fault or message in C."""

        def name(library: ctypes.CDLL) -> str:
            function = library[f"{what}_name"]
            function.restype = ctypes.c_char_p
            return bytes(function(number)).decode()

        return self._by_each(name)

    def _by_each(self, call: Callable[[ctypes.CDLL], _Answer]) -> _Answer:
        first, *others = (call(library) for library in self.libraries)
        assert others == [first] * len(others)
        return first


def structs(schema: Schema) -> dict[str, type[ctypes.Structure]]:
    """Return the C struct of each message. Floats are their bits, and bools are bytes."""
    return {message.name: _struct(message.visible) for message in schema.messages}


def _struct(fields: Iterable[Field], **options: Any) -> type[ctypes.Structure]:
    declared = [(field.name, _c_type(field.type, **options)) for field in fields]
    return type("Body", (ctypes.Structure,), {**options, "_fields_": declared})


def _c_type(kind: Type, **options: Any) -> Any:
    match kind:
        case Integer(size=size, signed=signed) | Enum(base=Integer(size=size, signed=signed)):
            return getattr(ctypes, f"c_{'' if signed else 'u'}int{8 * size}")
        case Float(size=size) | Flags(size=size) | Bool(size=size):
            return _c_type(INTEGERS[f"u{8 * size}"])
        case Struct(fields=fields):
            return _struct(fields, **options)
        case Array(element=element, count=count):
            return _c_type(element, **options) * count
        case ByteList() | List():
            return CountedBytes
        case Bytes() | Text() | Tail():
            return Slice


def fill(body: Any, fields: Iterable[Field], values: Mapping[str, Any]) -> None:
    """Write the values of fields into a C struct."""
    for field in fields:
        member = getattr(body, field.name)
        setattr(body, field.name, _filled(member, field.type, values[field.name]))


def _filled(member: Any, kind: Type, value: Any) -> Any:
    match kind:
        case Struct(fields=fields):
            fill(member, fields, value)
        case Array(element=element):
            for at, each in enumerate(value):
                member[at] = _filled(member[at], element, each)
        case ByteList() | List() if isinstance(value, ListItems):
            return CountedBytes(value.data, len(value.data), value.count)
        case ByteList() | List():
            data = items_of(kind, value)
            return CountedBytes(data, len(data), len(value))
        case Bytes() | Text() | Tail():
            return Slice(value, len(value))
        case _:
            return value
    return member


def read(body: Any, fields: Iterable[Field]) -> dict[str, Any]:
    """Return the values of fields in a C struct."""
    return {field.name: _read(getattr(body, field.name), field.type) for field in fields}


def _read(member: Any, kind: Type) -> Any:
    match kind:
        case Struct(fields=fields):
            return read(member, fields)
        case Array(element=element, is_octets=octets):
            return (bytes if octets else tuple)(_read(each, element) for each in member)
        case ByteList(prefix=prefix):
            items, data = [], _bytes_at(member, "items")
            while data:
                end = prefix.size + int.from_bytes(data[: prefix.size], "little")
                items.append(data[prefix.size : end])
                data = data[end:]
            assert len(items) == member.count
            return tuple(items)
        case List(element=element):
            packed = _c_type(element, _pack_=1) * member.count
            data = _bytes_at(member, "items")
            return tuple(_read(each, element) for each in packed.from_buffer_copy(data))
        case Bytes() | Text() | Tail():
            return _bytes_at(member, "data")
    return member


def _bytes_at(value: Any, pointer: str) -> bytes:
    address = ctypes.c_void_p.from_buffer(value, getattr(type(value), pointer).offset).value
    return ctypes.string_at(address, value.size) if address else b""


SHIM = """
#include "protocol.h"

int decode(const uint8_t *frame, int sender, uint32_t version, void *body, uint32_t *id)
{{
	struct {p}_fault_at fault = {{ {P}_FAULT_NONE, 0, 0 }};
	struct {p}_header header;

	if ({p}_decode_header(frame, (enum {p}_end)sender, version, &header, &fault))
		{p}_decode_body(&header, frame + {P}_HEADER_SIZE, version, body, &fault);
	*id = header.id;
	return fault.fault;
}}

const char *fault_name(int fault)
{{
	return {p}_fault_name((enum {p}_fault)fault);
}}

const char *message_name(int type)
{{
	return {p}_message_name((uint16_t)type);
}}
"""

ONE = """
int check_{m}(uint32_t version, uint32_t id, const void *message)
{{
	(void)id, (void)message;
	return {p}_check_{c}({arguments});
}}

size_t encode_{m}(uint8_t *out, size_t room, uint32_t version, uint32_t id, const void *message)
{{
	(void)id, (void)message;
	return {p}_encode_{c}(out, room, {arguments});
}}
"""

ITEMS = """
void items_{m}_{f}(const struct {p}_{c} *message, uint8_t *out)
{{
	const uint8_t *at = message->{member}.items;
	{type} item;

	for (uint32_t i = 0; i < message->{member}.count; i++) {{
		{p}_next_{suffix}(&at, &item);
		{p}_append_{suffix}(&out, &item);
	}}
}}
"""


def shim(schema: Schema) -> str:
    """Return C source that exports the functions of a header by the names of the messages."""
    text = SHIM.format(p=schema.name, P=schema.name.upper())
    for message in schema.messages:
        given = ["version", *(["id"] if message.id != "none" else [])]
        arguments = ", ".join([*given, *(["message"] if message.visible else [])])
        name = {"p": schema.name, "m": message.name, "c": message.c_name}
        text += ONE.format(**name, arguments=arguments)
        for field in message.visible:
            if isinstance(field.type, List):
                element = field.type.element
                names = {"f": field.name, "member": field.c_name, "suffix": suffix(element)}
                item = c_type(element).replace("@p@", schema.name)
                text += ITEMS.format(**name, **names, type=item)
    return text


def build(schema: Schema, folder: Path) -> tuple[ctypes.CDLL, ...]:
    """Compile a library for each style."""
    (folder / "shim.c").write_text(shim(schema))
    return tuple(compiled(schema, folder, "-O0"))


def struct_of(ends: ConnectedEnds, message: Message, drawn: Mapping[str, Any]) -> ctypes.Structure:
    """Return the C struct of a message."""
    body = ends.structs[message.name]()
    fill(body, message.visible, drawn)
    return body


def by_python(
    ends: ConnectedEnds, message: Message, version: int, id_: int, drawn: Mapping[str, Any]
) -> tuple[int, bytes]:
    """Return the fault that Python finds in a message, or its frame. All styles must agree."""
    said, plain = (
        _encoded(codec, message, version, id_, drawn) for codec in (ends.python, ends.plain)
    )
    assert said == plain
    return said


def _encoded(
    codec: ModuleType, message: Message, version: int, id_: int, drawn: Mapping[str, Any]
) -> tuple[int, bytes]:
    try:
        return 0, made(codec, message, id_, drawn).encode(version)
    except codec.EncodeError as error:
        return int(error.fault), b""


def decoded_by_python(
    ends: ConnectedEnds, frame: bytes, sender: str, version: int
) -> tuple[int, Any]:
    """Return the result of decoding a frame in Python: a fault or a message."""
    decoder = ends.python.Decoder(sender, version)
    decoder.receive_data(frame)
    try:
        return 0, decoder.next_message()
    except ends.python.DecodeError as error:
        return int(error.fault), None


def forced(
    schema: Schema, message: Message, version: int, id_: int, drawn: Mapping[str, Any]
) -> bytes:
    """Return the frame of an invalid message, which no encoder would write."""
    there = [field for field in message.fields if field.since <= version]
    body = (reference.pack(f.type, drawn.get(f.name, f.equals)) for f in there)
    return reference.write(schema, message.number, id_, b"".join(body))


def compare(ends: ConnectedEnds, drawn: tuple[Message, int, int, dict[str, Any]]) -> None:
    """Check that both codecs accept the same messages, and encode and decode them identically."""
    message, version, id_, fields = drawn
    struct = struct_of(ends, message, fields)
    fault = ends.check(message, version, id_, struct)
    frame = ends.encode(
        message, version, id_, struct, ends.schema.framing.bare_size(message.max_body)
    )
    assert (frame == b"") == (fault != 0)
    sender = ends.schema.ends[0] if message.sender == "both" else message.sender
    ours = any(isinstance(value, ListItems) for value in fields.values())
    if not ours:
        assert by_python(ends, message, version, id_, fields) == (fault, frame)
    if not fault:
        assert ends.encode(message, version, id_, struct, len(frame)) == frame
        assert ends.encode(message, version, id_, struct, len(frame) - 1) == b""
        decoded = ends.decode(message, frame, sender, version)
        assert decoded[:2] == (0, id_)
        fault, python = decoded_by_python(ends, frame, sender, version)
        assert fault == 0
        assert same(python, made(ends.python, message, id_, decoded[2]))
        assert [*reference.read(ends.schema.at(version), frame, sender)]
        for field in message.visible:
            given, value = fields[field.name], decoded[2][field.name]
            if isinstance(given, ListItems):
                assert isinstance(field.type, ByteList | List)
                given = given.data
                value = items_of(field.type, value)
            assert value == given, field.name
            if isinstance(field.type, List) and field.since <= version:
                data = getattr(struct, field.name)
                assert ends.items(message, field, struct) == _bytes_at(data, "items")
    elif not ours and fault != CODES["trailing_bytes"]:
        try:
            frame = forced(ends.schema, message, version, id_, fields)
        except OverflowError:
            # A frame cannot contain such a length.
            return
        said, *_ = ends.decode(message, frame, sender, version)
        # If a value is too long, its body may be too long, too, and is refused first.
        assert said in (fault, CODES["body_too_long"])
        assert decoded_by_python(ends, frame, sender, version)[0] == said

"""An encoder accepts what a decoder accepts, in C and in Python, and both refuse the rest alike.

Messages are made of any values at all: also those that no decoder would ever have given, such as a
list that has fewer items than it counts.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.emitted import compiled
from tests.support.messages import made, same

from microvm_proto import frame as reference
from microvm_proto.faults import FAULTS
from microvm_proto.resolve import read_schema
from microvm_proto.schema import Message, Schema
from microvm_proto.types import (
    Array,
    ByteList,
    Bytes,
    Enum,
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

from . import random_schema
from .test_agreement import (
    EVERYTHING,
    HEADER,
    QUICK,
    ROOT,
    SANDBOXD,
    SHORT_PREFIX,
    TYPES,
    Codec,
    codec_of,
    octets,
    values,
    within_bounds,
)
from .test_versions import GROWN

UNTOUCHED = b"\xa5"
"""What is in memory that C must not write to."""

_Answer = TypeVar("_Answer")
CODES = {fault.name: fault.number for fault in FAULTS}


class Slice(ctypes.Structure):
    """Bytes of a message."""

    _fields_ = (("data", ctypes.c_char_p), ("size", ctypes.c_uint32))


class CountedBytes(ctypes.Structure):
    """A list of a message."""

    _fields_ = (("items", ctypes.c_char_p), ("size", ctypes.c_uint32), ("count", ctypes.c_uint32))


@dataclass(frozen=True)
class Items:
    """Items that C takes for a list: a count, and the items, each behind a length, true or not."""

    count: int
    data: bytes


@dataclass(frozen=True)
class Ends(Codec):
    """Both ends of one schema, built: each in each of its styles, which do the same."""

    libraries: tuple[ctypes.CDLL, ...]
    structs: Mapping[str, type[ctypes.Structure]]

    def check(self, message: Message, version: int, id_: int, body: ctypes.Structure) -> int:
        """The fault that C finds before it encodes."""
        given = (version, ctypes.c_uint32(id_), ctypes.byref(body))
        return self._by_each(lambda library: int(library[f"check_{message.name}"](*given)))

    def encode(
        self, message: Message, version: int, id_: int, body: ctypes.Structure, room: int
    ) -> bytes:
        """The frame by C; empty when it refuses. Nothing is written beyond it."""
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
        """The fault that C finds in a frame, its id and its fields."""
        # A frame of any other message would have no room.
        assert int.from_bytes(frame[4:6], "little") == message.number
        end = self.schema.ends.index(sender) + 1

        def decode(library: ctypes.CDLL) -> tuple[int, int, dict[str, Any]]:
            body = self.structs[message.name]()
            room = ctypes.create_string_buffer(self.schema.max_body + 4096)
            id_ = ctypes.c_uint32()
            fault = library.decode(frame, end, version, room, ctypes.byref(id_))
            ctypes.memmove(ctypes.byref(body), room, ctypes.sizeof(body))
            there = () if fault else seen(message)
            return fault, id_.value, {f.name: _value(f, getattr(body, f.name)) for f in there}

        return self._by_each(decode)

    def _by_each(self, call: Callable[[ctypes.CDLL], _Answer]) -> _Answer:
        first, *others = (call(library) for library in self.libraries)
        assert others == [first] * len(others)
        return first


def seen(message: Message) -> list[Field]:
    """The fields that a message has in a program."""
    return [field for field in message.fields if field.equals is None]


def _c_type(field: Field) -> type:
    match field.type:
        case Integer(size=size, signed=signed) | Enum(base=Integer(size=size, signed=signed)):
            kind: type = getattr(ctypes, f"c_{'' if signed else 'u'}int{8 * size}")
            return kind
        case ByteList():
            return CountedBytes
    return Slice


def _value(field: Field, value: Any) -> Any:
    """A field of a struct as Python has it."""
    if isinstance(value, Slice):
        return _bytes_at(value, "data")
    if isinstance(value, CountedBytes):
        items = []
        data = _bytes_at(value, "items")
        while data:
            end = 4 + int.from_bytes(data[:4], "little")
            items.append(data[4:end])
            data = data[end:]
        assert len(items) == value.count
        return tuple(items)
    return value


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
"""

ONE = """
int check_{m}(uint32_t version, uint32_t id, const void *message)
{{
	(void)id, (void)message;
	return {p}_check_{m}({arguments});
}}

size_t encode_{m}(uint8_t *out, size_t room, uint32_t version, uint32_t id, const void *message)
{{
	(void)id, (void)message;
	return {p}_encode_{m}(out, room, {arguments});
}}
"""


def build(schema: Schema, folder: Path) -> tuple[ctypes.CDLL, ...]:
    """The header's functions, by their messages' names; undefined behaviour ends the process."""
    shim = SHIM.format(p=schema.name, P=schema.name.upper())
    for message in schema.messages:
        given = ["version", *(["id"] if message.id != "none" else [])]
        arguments = ", ".join([*given, *(["message"] if seen(message) else [])])
        shim += ONE.format(p=schema.name, m=message.name, arguments=arguments)
    (folder / "shim.c").write_text(shim)
    flags = "-std=c11 -O0 -Wall -Wextra -Werror -shared -fPIC".split()
    flags += "-fsanitize=undefined -fno-sanitize-recover=undefined".split()
    return tuple(ctypes.CDLL(str(path)) for path in compiled(schema, folder, flags))


@pytest.fixture(scope="module")
def make(
    generated: Callable[[Path], Path],
    load: Callable[[Path], ModuleType],
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[[Path | int], Ends]:
    """Generate both ends of a schema, or of the random one of a seed."""

    @functools.cache
    def make(path: Path | int) -> Ends:
        folder = tmp_path_factory.mktemp("encoders")
        if isinstance(path, int):
            (folder / "schema.toml").write_text(random_schema.text(path))
            path = folder / "schema.toml"
        schema = read_schema(path)
        codec = codec_of(schema, folder, load)
        structs = {
            message.name: type(
                message.name,
                (ctypes.Structure,),
                {"_fields_": [(field.name, _c_type(field)) for field in seen(message)]},
            )
            for message in schema.messages
        }
        return Ends(schema, codec.python, codec.plain, build(schema, folder), structs)

    return make


def wild(field: Field) -> st.SearchStrategy[Any]:
    """Return what a field can be in a program, within its bounds or not."""
    if isinstance(field.type, ByteList):
        return _lists_around(field.type) | _items_around(field.type)
    return values(field) if field.absent is not None else _wild(field.type)


def _wild(kind: Type) -> st.SearchStrategy[Any]:
    match kind:
        case Float(size=size, exponent=exponent):
            sign = 1 << (8 * size - 1)
            # The highest bit below the exponent makes a NaN that signals nothing.
            return st.sampled_from([exponent, exponent | sign, exponent | exponent >> 1, sign])
        case Enum(base=base, values=known):
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
    few = st.lists(_octets_around(kind.max_item), max_size=5).map(tuple)
    many = [(b"",) * count for count in (kind.max_items, kind.max_items + 1)]
    rest = (b"a" * kind.max_item,) * (kind.max_total // (4 + kind.max_item))
    left = kind.max_total - len(rest) * (4 + kind.max_item)
    full = [(*rest, b"a" * max(0, left - 4 + more)) for more in (-1, 0, 1)]
    return few | st.sampled_from([*many, *full])


@st.composite
def _items_around(draw: st.DrawFn, kind: ByteList) -> Items:
    """Counts without items, items without a count, lengths that lie, half an item at the end."""
    items = draw(_lists_around(kind))
    data = bytearray(b"".join(len(item).to_bytes(4, "little") + item for item in items))
    if data and draw(st.booleans()):
        data[draw(st.integers(0, len(data) - 1))] = draw(st.sampled_from([0, 1, 2, 255]))
    end = len(data) + draw(st.integers(-5, 0))
    count = draw(st.sampled_from([0, 1, 2**32 - 1]) | st.just(max(0, len(items) + 1)))
    return Items(draw(st.sampled_from([len(items), count])), bytes(data[: max(0, end)]))


@st.composite
def messages(draw: st.DrawFn, ends: Ends) -> tuple[Message, int, int, dict[str, Any]]:
    """A message, a version, an id, and values for its fields of which at most two are wild."""
    # One with many fields has more that can be wrong.
    weighted = [message for message in ends.schema.messages for _ in (0, *seen(message))]
    message = draw(st.sampled_from(weighted))
    version = draw(st.integers(1, ends.schema.version))
    fields = seen(message)
    drawn = {}
    for field in fields:
        right = values(field)
        if message.is_later(field):
            # Without this an older version would nearly always refuse.
            right = st.just(_default(field)) | right
        drawn[field.name] = draw(right)
    for _ in range(draw(st.integers(0, 2)) if fields else 0):
        field = draw(st.sampled_from(fields))
        drawn[field.name] = draw(wild(field))
    ids = st.sampled_from([0, 1, 1, 1, 2**32 - 1])
    return message, version, draw(ids) if message.id != "none" else 0, drawn


def _default(field: Field) -> Any:
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


def struct_of(ends: Ends, message: Message, drawn: Mapping[str, Any]) -> ctypes.Structure:
    """The message for C."""
    body = ends.structs[message.name]()
    for name, value in drawn.items():
        match value:
            case bytes():
                setattr(body, name, Slice(value, len(value)))
            case tuple():
                data = b"".join(len(item).to_bytes(4, "little") + item for item in value)
                setattr(body, name, CountedBytes(data, len(data), len(value)))
            case Items(count=count, data=data):
                setattr(body, name, CountedBytes(data, len(data), count))
            case _:
                setattr(body, name, value)
    return body


def by_python(
    ends: Codec, message: Message, version: int, id_: int, drawn: Mapping[str, Any]
) -> tuple[int, bytes]:
    """The fault that Python finds in the message, or its frame; its styles say the same."""
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


def decoded_by_python(ends: Codec, frame: bytes, sender: str, version: int) -> tuple[int, Any]:
    """Return what Python makes of a frame: a fault, or a message."""
    decoder = ends.python.Decoder(sender, version)
    decoder.receive_data(frame)
    try:
        return 0, decoder.next_message()
    except ends.python.DecodeError as error:
        return int(error.fault), None


def forced(
    schema: Schema, message: Message, version: int, id_: int, drawn: Mapping[str, Any]
) -> bytes:
    """The frame of a message that no encoder would write."""
    there = [field for field in message.fields if field.since <= version]
    body = (reference.pack(f.type, drawn.get(f.name, f.equals)) for f in there)
    return reference.write(schema, message.number, id_, b"".join(body))


def compare(ends: Ends, drawn: tuple[Message, int, int, dict[str, Any]]) -> None:
    """Both encoders agree, what they accept is decoded to the same, and what they do not is not."""
    message, version, id_, fields = drawn
    struct = struct_of(ends, message, fields)
    fault = ends.check(message, version, id_, struct)
    frame = ends.encode(message, version, id_, struct, HEADER + message.max_body)
    assert (frame == b"") == (fault != 0)
    sender = ends.schema.ends[0] if message.sender == "both" else message.sender
    ours = any(isinstance(value, Items) for value in fields.values())
    if not ours:
        assert by_python(ends, message, version, id_, fields) == (fault, frame)
    if not fault:
        assert ends.encode(message, version, id_, struct, len(frame)) == frame
        assert ends.encode(message, version, id_, struct, len(frame) - 1) == b""
        read = ends.decode(message, frame, sender, version)
        assert read[:2] == (0, id_)
        decoded = decoded_by_python(ends, frame, sender, version)
        assert decoded[0] == 0
        assert same(decoded[1], made(ends.python, message, id_, read[2]))
        assert [*reference.read(ends.schema.at(version), frame, sender)]
        for name, value in read[2].items():
            given = fields[name]
            assert value == given or isinstance(given, Items), name
            if isinstance(given, Items):
                assert reference.pack(ByteList(1, 1, 1, nul=True), value)[4:] == given.data
    elif not ours and fault != CODES["trailing_bytes"]:
        try:
            frame = forced(ends.schema, message, version, id_, fields)
        except OverflowError:
            # Its length is beyond what a frame can say.
            return
        said, *_ = ends.decode(message, frame, sender, version)
        # A value beyond its bound may be a body beyond its own first.
        assert said in (fault, CODES["body_too_long"])
        assert decoded_by_python(ends, frame, sender, version)[0] == said


COMMITTED = [
    SANDBOXD,
    ROOT / "examples/sensor/sensor.toml",
    EVERYTHING,
    GROWN,
    TYPES,
    SHORT_PREFIX,
]


@given(data=st.data())
@settings(QUICK, max_examples=500)
@pytest.mark.parametrize("schema", COMMITTED, ids=lambda path: path.stem)
def test_what_an_encoder_accepts_a_decoder_accepts(
    schema: Path, make: Callable[[Path | int], Ends], data: st.DataObject
) -> None:
    ends = make(schema)
    compare(ends, data.draw(messages(ends)))


@given(data=st.data())
@settings(QUICK, max_examples=100)
@pytest.mark.parametrize("seed", range(8))
def test_what_an_encoder_of_a_random_schema_accepts_a_decoder_accepts(
    seed: int, make: Callable[[Path | int], Ends], data: st.DataObject
) -> None:
    ends = make(seed)
    compare(ends, data.draw(messages(ends)))


@pytest.mark.parametrize("list_", [Items(0, bytes(4)), Items(1, b"")], ids=["no count", "no items"])
def test_a_list_that_is_none_is_no_empty_one_to_an_older_version(
    list_: Items, make: Callable[[Path | int], Ends]
) -> None:
    ends = make(GROWN)
    (every,) = (message for message in ends.schema.messages if message.name == "every")
    (name,) = (field.name for field in every.fields if isinstance(field.type, ByteList))
    fields = {field.name: _default(field) for field in seen(every)}
    assert ends.check(every, 1, 1, struct_of(ends, every, fields)) == 0
    struct = struct_of(ends, every, fields | {name: list_})
    assert ends.check(every, 1, 1, struct) == CODES["trailing_bytes"]


@pytest.mark.long
@given(data=st.data())
@settings(QUICK, max_examples=300)
@pytest.mark.parametrize("seed", range(8, 120))
def test_what_encoders_of_many_random_schemas_accept_decoders_accept(
    seed: int, make: Callable[[Path | int], Ends], data: st.DataObject
) -> None:
    ends = make(seed)
    compare(ends, data.draw(messages(ends)))

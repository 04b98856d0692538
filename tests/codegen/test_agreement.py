"""Tests that the generated Python and C decode every frame identically, valid or not.

A shim, written from the schema, makes the C code a shared library. Undefined behaviour aborts this
process.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import itertools
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.support import encoders, messages, vectors
from tests.support.emitted import compiled, emitted
from tests.support.mutations import mutated
from tests.support.values import values
from tests.support.vectors import Vector

from microvm_proto import frame as reference
from microvm_proto.resolve import read_schema
from microvm_proto.schema import Message, Schema
from microvm_proto.types import FLOATS

from .common import (
    EVERYTHING,
    FILES,
    INTERPRETER,
    ROOT,
    SANDBOXD,
    SHORT_PREFIX,
    STREAMS,
    TYPES,
    Generated,
    Load,
)

HEADER = 12

SHIM = """
#include "protocol.h"

const uint64_t constants[] = {{
	{P}_VERSION, {P}_SCHEMA_DIGEST, {P}_HEADER_SIZE, {P}_MAX_BODY
}};

{again}
/* Decodes a frame at one version and, when it is right, encodes it at another into `out`, whose
 * size it returns. 0 when the frame is not whole; -1 when it is malformed, and `said` tells how; -2
 * when it cannot be encoded. */
long shim(const uint8_t *frame, size_t size, int sender, uint32_t version, uint32_t written,
	uint8_t *out, uint32_t said[3])
{{
	struct {p}_fault_at fault = {{ 0 }};
	struct {p}_header header;
	union {p}_body body;
	size_t encoded = 0;

	if (size < {P}_HEADER_SIZE)
		return 0;
	if (!{p}_decode_header(frame, (enum {p}_end)sender, version, &header, &fault))
		goto refused;
	if (size < {P}_HEADER_SIZE + (size_t)header.body_length)
		return 0;
	if (!{p}_decode_body(&header, frame + {P}_HEADER_SIZE, version, &body, &fault))
		goto refused;
	encoded = again(out, {P}_HEADER_SIZE + {P}_MAX_BODY, written, &header, &body);
	return encoded ? (long)encoded : -2;
refused:
	said[0] = (uint32_t)fault.fault;
	said[1] = fault.offset;
	said[2] = fault.field;
	return -1;
}}
"""


COMMITTED = {
    SANDBOXD: (ROOT / "host/microvm/wire/codec.py", vectors.COMMITTED),
    FILES: (ROOT / "host/microvm/wire/files.py", vectors.FILES),
    STREAMS: (ROOT / "host/microvm/wire/streams.py", vectors.STREAMS),
    INTERPRETER: (ROOT / "host/microvm/wire/interpreter.py", vectors.INTERPRETER),
}
"""The Python codecs and the vectors of our own protocols."""

Answer = tuple[object, ...]
"""The result for a frame: a fault, the frame again, or a word."""


@dataclass(frozen=True)
class Codec:
    """The Python codec of one schema, in each of its styles."""

    schema: Schema
    python: ModuleType
    plain: ModuleType

    def by_python(self, frame: bytes, sender: str, version: int = 0, written: int = 0) -> Answer:
        """Return the result of Python for a frame: its fault, "more", or the frame again.

        All styles must agree.

        :param version: version to decode; the newest by default.
        :param written: version to encode; by default the same.
        """
        version = version or self.schema.version
        said = _said(self.python, frame, sender, version, written or version)
        assert _said(self.plain, frame, sender, version, written or version) == said
        return said[:1] if said[0] == "refused" else said


def _said(codec: ModuleType, frame: bytes, sender: str, version: int, written: int) -> Answer:
    decoder = codec.Decoder(sender, version)
    decoder.receive_data(frame)
    try:
        message = decoder.next_message()
    except codec.DecodeError as error:
        return (int(error.fault), error.offset, error.field_number)
    try:
        return ("more",) if message is None else (message.encode(written),)
    except codec.EncodeError as error:
        return ("refused", int(error.fault), error.field)


def codec_of(schema: Schema, folder: Path, load: Load) -> Codec:
    """Write the Python codec of a schema into a folder, in each style, and import it."""
    styles = {"fast": "codec.py", "plain": "plain.py"}
    for style, file in styles.items():
        (folder / file).write_text(emitted("python", schema, file, style)[file])
    return Codec(schema, *(load(folder / file) for file in styles.values()))


@dataclass(frozen=True)
class CodecPair(Codec):
    """The codecs of one schema in Python and C, in each of their styles."""

    libraries: tuple[ctypes.CDLL, ...]
    room: ctypes.Array[ctypes.c_char]

    def by_c(self, frame: bytes, sender: str, version: int = 0, written: int = 0) -> Answer:
        """Return the result of C for a frame, like `by_python`."""
        end = self.schema.ends.index(sender) + 1
        version = version or self.schema.version
        arguments = (frame, len(frame), end, version, written or version, self.room)
        first, *others = (self._said(library, *arguments) for library in self.libraries)
        assert [first] * len(others) == others
        return first

    def _said(self, library: ctypes.CDLL, *arguments: object) -> Answer:
        said = (ctypes.c_uint32 * 3)()
        size = library.shim(*arguments, said)
        if size < 0:
            return tuple(said) if size == -1 else ("refused",)
        return (ctypes.string_at(self.room, size),) if size else ("more",)

    def by_reference(self, frame: bytes, sender: str) -> Answer:
        """Return the result of the generator's own reader for a frame, like `by_python`."""
        try:
            parts = list(reference.read(self.schema, frame, sender))
        except reference.Malformed as error:
            return (error.fault.number, error.offset, error.number)
        except reference.Incomplete:
            return ("more",)
        return (frame[: parts[-1].offset + parts[-1].size],)


Link = Callable[[Path], CodecPair]


@pytest.fixture(scope="module")
def link(generated: Generated, load: Load, tmp_path_factory: pytest.TempPathFactory) -> Link:
    """Build both codecs once. For our own protocols, the Python codec is the committed one."""

    @functools.cache
    def link(path: Path) -> CodecPair:
        codec, _ = COMMITTED.get(path) or (generated(path) / "codec.py", None)
        schema = read_schema(path)
        libraries = build(schema, tmp_path_factory.mktemp("shim"))
        room = ctypes.create_string_buffer(HEADER + schema.max_body)
        return CodecPair(schema, load(codec), load(generated(path) / "plain.py"), libraries, room)

    return link


QUICKLY = [EVERYTHING, TYPES]
"""The schemas that have every type. The compilation of the others takes the most time."""


@pytest.fixture(
    params=[
        pytest.param(path, id=path.stem, marks=[pytest.mark.thorough] * (path not in QUICKLY))
        for path in (*COMMITTED, *QUICKLY, SHORT_PREFIX)
    ]
)
def pair(request: pytest.FixtureRequest, link: Link) -> CodecPair:
    """Each schema, one after the other."""
    return link(request.param)


def build(schema: Schema, folder: Path) -> tuple[ctypes.CDLL, ...]:
    """Compile the header in each of its styles, with the shim."""
    names = {"p": schema.name, "P": schema.name.upper()}
    (folder / "shim.c").write_text(SHIM.format(**names, again=encoders.again(schema)))
    libraries = compiled(schema, folder, "-O1")
    for library in libraries:
        _declare(library)
    return tuple(libraries)


def _declare(library: ctypes.CDLL) -> None:
    library.shim.restype = ctypes.c_long
    library.shim.argtypes = [
        ctypes.c_char_p,
        ctypes.c_size_t,
        ctypes.c_int,
        ctypes.c_uint32,
        ctypes.c_uint32,
        ctypes.c_char_p,
        ctypes.c_uint32 * 3,
    ]


def frames(pair: Codec) -> st.SearchStrategy[tuple[str, bytes]]:
    """A strategy of well-formed frames with their senders."""

    def build(message: Message) -> st.SearchStrategy[tuple[str, bytes]]:
        fields = st.fixed_dictionaries({field.name: values(field) for field in message.visible})
        ids = st.integers(1 if message.id == "required" else 0, 2**32 - 1)
        encoded = st.builds(
            lambda id_, fields: messages.made(pair.python, message, id_, fields).encode(),
            ids,
            fields,
        )
        senders = pair.schema.ends if message.sender == "both" else [message.sender]
        return st.tuples(st.sampled_from(senders), encoded)

    return st.sampled_from(pair.schema.messages).flatmap(build)


def quiet(schema: Schema, frame: bytes) -> bytes:
    """Return a frame without signalling NaNs, which a register may change."""
    data = bytearray(frame)
    with contextlib.suppress(reference.Malformed, reference.Incomplete):
        for part in reference.read(schema, frame):
            if part.kind == FLOATS["f32"] and isinstance(part.value, int):
                exponent, fraction = 0x7F800000, 0x7FFFFF
                if part.value & exponent == exponent and part.value & fraction:
                    data[part.offset + 2] |= 0x40
    return bytes(data)


@st.composite
def mutations(draw: st.DrawFn, frame: bytes) -> bytes:
    """A strategy of changed frames. Their length is mostly correct."""
    data = bytearray(draw(mutated(st.just(frame))))
    if len(data) >= HEADER and draw(st.sampled_from([True, True, True, False])):
        data[:4] = struct.pack("<I", len(data) - HEADER)
    return bytes(data)


QUICK = settings(
    max_examples=100,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@given(data=st.data())
@QUICK
def test_c_decodes_and_encodes_python_frames(pair: CodecPair, data: st.DataObject) -> None:
    sender, frame = data.draw(frames(pair))
    assert pair.by_c(frame, sender) == (frame,)
    assert pair.by_python(frame, sender) == (frame,)


@pytest.mark.thorough
@given(data=st.data())
@settings(QUICK, max_examples=200)
def test_both_refuse_a_mutated_frame_with_the_same_words(
    pair: CodecPair, data: st.DataObject
) -> None:
    _, frame = data.draw(frames(pair))
    for changed in data.draw(st.lists(mutations(frame), min_size=8, max_size=8)):
        mutated = quiet(pair.schema, changed)
        for sender in pair.schema.ends:
            said = pair.by_python(mutated, sender)
            assert pair.by_c(mutated, sender) == said, mutated.hex()
            assert pair.by_reference(mutated, sender) == said, mutated.hex()


def test_the_version_digest_and_sizes_are_the_same(pair: CodecPair) -> None:
    constants = (ctypes.c_uint64 * 4).in_dll(pair.libraries[0], "constants")
    codec = pair.python
    assert list(constants) == [codec.VERSION, codec.DIGEST, codec.HEADER_SIZE, codec.MAX_BODY]


@pytest.fixture
def known(pair: CodecPair, generated: Generated) -> list[Vector]:
    """The vectors of each schema, one after the other."""
    path = pair.schema.path
    _, file = COMMITTED.get(path) or (None, generated(path) / "vectors.json")
    return vectors.load(file)


def test_both_agree_with_every_vector_in_pieces(pair: CodecPair, known: list[Vector]) -> None:
    for vector in known:
        frame, sender = vector.frame, vector.sender
        of_header = vector.fault is not None and vector.fault[1] < HEADER
        enough = HEADER if of_header else len(frame)
        # Byte by byte, or in pieces of an odd length if the frame is long.
        ends = [*range(0, enough, 1 if enough < 10_000 else 9973), enough]
        decoder = pair.python.Decoder(sender)
        for start, end in itertools.pairwise(ends):
            assert decoder.next_message() is None, vector.name
            assert pair.by_c(frame[:start], sender) == ("more",), vector.name
            decoder.receive_data(frame[start:end])
        expected = vector.fault or (frame,)
        assert pair.by_c(frame[:enough], sender) == expected, vector.name
        if vector.fault is None:
            assert decoder.next_message().encode() == frame, vector.name
            continue
        with pytest.raises(pair.python.DecodeError) as caught:
            decoder.next_message()
        error = caught.value
        assert (error.fault, error.offset, error.field_number) == vector.fault, vector.name


def test_both_agree_with_every_vector(pair: CodecPair, known: list[Vector]) -> None:
    for vector in known:
        expected = vector.fault or (vector.frame,)
        for behind in (b"", b"\0", b"\xff" * HEADER, vector.frame):
            data = vector.frame + behind
            assert pair.by_python(data, vector.sender) == expected, vector.name
            assert pair.by_c(data, vector.sender) == expected, vector.name

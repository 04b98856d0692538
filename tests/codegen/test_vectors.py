"""Tests of the generated vectors: every possible fault of every field, and the form of the file."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support import messages, vectors
from tests.support.emitted import emitted
from tests.support.vectors import Vector

from microvm_proto.resolve import read_schema
from microvm_proto.schema import Message, Schema
from microvm_proto.types import (
    Bool,
    ByteList,
    Bytes,
    Enum,
    Field,
    Flags,
    Float,
    List,
    Tail,
    Text,
    within,
)

from .common import CODES, EVERYTHING, SANDBOXD, SCHEMAS, SHORT_PREFIX, TYPES, Generated, Load, Read


@pytest.fixture(scope="module")
def committed() -> list[Vector]:
    return vectors.load(vectors.COMMITTED)


def of_field(message: Message, field: Field) -> Iterator[str]:
    """Return the possible faults of a field.

    Faults that depend on its neighbours are in the tests.
    """
    if not isinstance(field.type, Tail):
        yield "truncated"
    elif message.min_body + field.type.maximum < message.max_body:
        yield "too_long"
    if field.equals is not None:
        yield "unknown_value"
    for kind in within(field.type):
        match kind:
            case Bool() | Enum(closed=True) | Flags(closed=True):
                yield "unknown_value"
            case Float(finite=True):
                yield "not_finite"
            case Bytes() | Text() | ByteList() as octets:
                longest = octets.max_item if isinstance(octets, ByteList) else octets.maximum
                yield from ["too_long"] if longest < octets.prefix.maximum else []
                yield from [] if octets.nul else ["embedded_nul"]
        if isinstance(kind, Text):
            yield "not_utf8"
        if isinstance(kind, ByteList | List) and kind.max_items < kind.prefix.maximum:
            yield "too_many"
        # The other lists of `exec_request` are short enough.
        if isinstance(kind, ByteList) and message.name in ("exec_request", "everything"):
            yield "total_too_long"


@pytest.mark.parametrize("path", [SANDBOXD, TYPES, SHORT_PREFIX], ids=lambda path: path.stem)
def test_every_field_has_every_possible_fault(path: Path, generated: Generated) -> None:
    expected = {
        (message.number, field.number, CODES[fault])
        for message in read_schema(path).messages
        for field in message.fields
        for fault in of_field(message, field)
    }
    found = {
        (int.from_bytes(vector.frame[4:6], "little"), vector.fault[2], vector.fault[0])
        for vector in vectors.load(generated(path) / "vectors.json")
        if vector.fault and vector.fault[2]
    }
    assert found == expected


def test_every_message_has_all_faults_of_a_header(schema: Schema, committed: list[Vector]) -> None:
    found = {
        (int.from_bytes(vector.frame[4:6], "little"), vector.fault[0])
        for vector in committed
        if vector.fault and not vector.fault[2]
    }
    for message in schema.messages:
        faults = {"bad_direction", "reserved_flags", "body_too_long"}
        faults |= {"bad_id"} if message.id != "any" else set()
        faults |= (
            {"trailing_bytes"}
            if message.name in ("resume", "exec_request", "exec_failed")
            else set()
        )
        assert {fault for number, fault in found if number == message.number} == {
            CODES[fault] for fault in faults
        }, message.name
    assert CODES["unknown_type"] in {fault for _, fault in found}


def test_longest_frame_of_each_message_is_there(schema: Schema, committed: list[Vector]) -> None:
    for message in schema.messages:
        longest = max(len(each.frame) for each in committed if each.message == message.name)
        assert longest == 12 + message.max_body, message.name


@pytest.mark.parametrize("path", [SANDBOXD, EVERYTHING], ids=lambda path: path.stem)
def test_the_file_is_small_and_has_no_vector_twice(path: Path) -> None:
    (text,) = emitted("vectors", read_schema(path), "vectors.json").values()
    assert len(text) < 200_000
    assert max(map(len, text.splitlines())) < 2000
    data = json.loads(text)
    names = [vector["name"] for vector in (*data["valid"], *data["invalid"])]
    frames = [(vector["sender"], vector["frame"]) for vector in (*data["valid"], *data["invalid"])]
    assert len(set(names)) == len(names)
    assert len(set(frames)) == len(frames)


def with_fields(fields: int) -> str:
    """Return a schema with one message with this many fields, of all kinds in turn."""
    kinds = [
        'type = "i16"',
        'type = "colour"',
        'type = "bytes"\nmax = 9\nnul = false',
        'type = "list<bytes>"\nmax_items = 3\nmax_item = 9\nmax_total = 20',
    ]
    head = '[protocol]\nname = "p"\nversion = 1\nends = ["a", "b"]\n'
    enum = '[[enum]]\nname = "colour"\ntype = "u8"\nclosed = true\n'
    enum += "".join(f'[[enum.value]]\nname = "c{at}"\nnumber = {at}\n' for at in range(3))
    message = '[[message]]\nname = "m"\nnumber = 1\nsender = "a"\nid = "none"\n'
    names = (f'[[message.field]]\nname = "f{at}"\n{kinds[at % 4]}\n' for at in range(fields))
    return head + enum + message + "".join(names)


def test_size_of_vectors_grows_linearly(read: Read) -> None:
    def size(fields: int) -> int:
        return len(*emitted("vectors", read(with_fields(fields)), "vectors.json").values())

    assert size(240) < 3 * size(80)


@pytest.mark.parametrize("file", ["codec.py", "plain.py"])
@pytest.mark.parametrize("schema", SCHEMAS, ids=lambda path: path.stem)
def test_the_python_agrees_with_the_vectors(
    schema: Path, file: str, generated: Generated, load: Load
) -> None:
    codec = load(generated(schema) / file)
    known = {message.name: message for message in read_schema(schema).messages}
    for vector in vectors.load(generated(schema) / "vectors.json"):
        decoder = codec.Decoder(vector.sender)
        decoder.receive_data(vector.frame)
        if vector.fault is None:
            message = decoder.next_message()
            expected = messages.made(codec, known[vector.message], vector.id, vector.fields)
            assert message.encode() == expected.encode() == vector.frame, vector.name
            assert messages.same(message, expected), vector.name
            continue
        with pytest.raises(codec.DecodeError) as caught:
            decoder.next_message()
        error = caught.value
        assert (error.fault, error.offset, error.field_number) == vector.fault, vector.name

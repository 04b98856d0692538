"""Tests that encoders accept exactly what decoders accept, in C and in Python.

The values of messages are arbitrary, also those that no decoder returns, such as a list with fewer
items than its count.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.ends import ConnectedEnds, build, compare, struct_of, structs
from tests.support.values import ListItems, default, messages

from microvm_proto.faults import FAULTS
from microvm_proto.resolve import read_schema
from microvm_proto.types import ByteList

from . import random_schema
from .common import CODES, EVERYTHING, GROWN, ROOT, SANDBOXD, SHORT_PREFIX, TYPES, Generated, Load
from .test_agreement import QUICK, codec_of

MakeEnds = Callable[[Path | int], ConnectedEnds]


@pytest.fixture(scope="module")
def make(generated: Generated, load: Load, tmp_path_factory: pytest.TempPathFactory) -> MakeEnds:
    """Generate the codecs of a schema, or of a random schema with a seed."""

    @functools.cache
    def make(path: Path | int) -> ConnectedEnds:
        folder = tmp_path_factory.mktemp("encoders")
        if isinstance(path, int):
            (folder / "schema.toml").write_text(random_schema.text(path))
            path = folder / "schema.toml"
        schema = read_schema(path)
        codec = codec_of(schema, folder, load)
        libraries = build(schema, folder)
        return ConnectedEnds(schema, codec.python, codec.plain, libraries, structs(schema))

    return make


COMMITTED = [SANDBOXD, ROOT / "examples/sensor/sensor.toml", EVERYTHING, GROWN, TYPES, SHORT_PREFIX]


@pytest.mark.thorough
@given(data=st.data())
@QUICK
@pytest.mark.parametrize("schema", COMMITTED, ids=lambda path: path.stem)
def test_decoders_accept_encoded_frames(schema: Path, make: MakeEnds, data: st.DataObject) -> None:
    ends = make(schema)
    compare(ends, data.draw(messages(ends.schema)))


@pytest.mark.thorough
@given(data=st.data())
@QUICK
@pytest.mark.parametrize("seed", range(4))
def test_random_codecs_accept_each_other(seed: int, make: MakeEnds, data: st.DataObject) -> None:
    ends = make(seed)
    compare(ends, data.draw(messages(ends.schema)))


def test_faults_and_messages_have_their_names(make: MakeEnds) -> None:
    ends = make(TYPES)
    known = {message.number: message.name for message in ends.schema.messages}
    faults = {0: "none", **{fault.number: fault.name for fault in FAULTS}}
    assert {number: ends.name("message", number) for number in known} == known
    assert {number: ends.name("fault", number) for number in faults} == faults
    assert ends.name("message", 0) == ends.name("fault", 63) == "unknown"


@pytest.mark.parametrize(
    "list_", [ListItems(0, bytes(4)), ListItems(1, b"")], ids=["no count", "no items"]
)
def test_absent_list_is_no_empty_list_in_old_version(list_: ListItems, make: MakeEnds) -> None:
    ends = make(GROWN)
    (every,) = (message for message in ends.schema.messages if message.name == "every")
    (name,) = (field.name for field in every.fields if isinstance(field.type, ByteList))
    fields = {field.name: default(field) for field in every.visible}
    assert ends.check(every, 1, 1, struct_of(ends, every, fields)) == 0
    struct = struct_of(ends, every, fields | {name: list_})
    assert ends.check(every, 1, 1, struct) == CODES["trailing_bytes"]


@pytest.mark.long
@given(data=st.data())
@settings(QUICK, max_examples=300)
@pytest.mark.parametrize("seed", range(4, 120))
def test_many_random_codecs_agree(seed: int, make: MakeEnds, data: st.DataObject) -> None:
    ends = make(seed)
    compare(ends, data.draw(messages(ends.schema)))

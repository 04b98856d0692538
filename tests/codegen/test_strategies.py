"""Tests of the generated strategies: within the bounds of any schema, and clean under linters."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.emitted import emitted

from microvm_proto import frame as reference
from microvm_proto.resolve import read_schema
from microvm_proto.schema import Schema

from .common import SANDBOXD, SCHEMAS, Generated, Load, check_linters

pytestmark = pytest.mark.thorough


@pytest.mark.parametrize("schema", SCHEMAS, ids=lambda path: path.stem)
def test_strategies_generate_only_valid_messages(
    schema: Path, generated: Generated, load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = read_schema(schema)
    name = next((o.module for o in read.outputs if o.backend == "python"), "codec")
    monkeypatch.setitem(sys.modules, name, load(generated(schema) / "codec.py"))
    made = load(generated(schema) / "messages.py")
    for end in read.ends:
        if any(message.sender in (end, "both") for message in read.messages):
            draw_and_read(made.FRAMES[end], made.MESSAGES[end], made.codec, read, end)
        else:
            assert made.FRAMES[end].is_empty


def draw_and_read(
    frames: st.SearchStrategy[bytes],
    messages: st.SearchStrategy[Any],
    codec: ModuleType,
    schema: Schema,
    end: str,
) -> None:
    @settings(max_examples=50, deadline=None)
    @given(frame=frames, message=messages)
    def check(frame: bytes, message: Any) -> None:
        (*_, last) = reference.read(schema, frame, end)
        assert last.offset + last.size == len(frame) < 200_000
        decoder = codec.Decoder(end)
        decoder.receive_data(message.encode())
        assert decoder.next_message() == message

    check()


def test_strategies_pass_the_linters(tmp_path: Path) -> None:
    path = tmp_path / "random_messages.py"
    path.write_text(*emitted("strategies", read_schema(SANDBOXD), path.name).values())
    check_linters(path)

"""Tests that the guest's small codec agrees with the generated vectors."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import pytest
from tests.support import vectors
from tests.support.vectors import Vector

from microvm.interpreter.program import program
from microvm.wire import interpreter as wire

VECTORS = vectors.load(vectors.INTERPRETER)
VALID = [each for each in VECTORS if each.fault is None]
INVALID = [each for each in VECTORS if each.fault is not None]

guest: Any = ModuleType("guest")
exec(compile(program(), "interpreter.py", "exec"), vars(guest))  # noqa: S102 - our own program


def plain(value: Any, like: Any) -> Any:
    """Return a value of a vector as the guest's codec returns it."""
    if isinstance(like, str):
        return value.decode()
    return value


@pytest.mark.parametrize("vector", VALID, ids=lambda each: each.name)
def test_valid_frame_is_decoded_and_encoded(vector: Vector) -> None:
    name, values = guest.decode(vector.frame, vector.sender)
    assert name == vector.message
    expected = list(vector.fields.values())
    assert values == [plain(*pair) for pair in zip(expected, values, strict=True)]
    assert guest.size_of(vector.frame, vector.sender) == len(vector.frame)
    assert guest.encode(name, *values) == vector.frame


@pytest.mark.parametrize("vector", INVALID, ids=lambda each: each.name)
def test_invalid_frame_is_refused(vector: Vector) -> None:
    with pytest.raises(guest.MalformedFrame):
        guest.decode(vector.frame, vector.sender)


def test_tables_have_the_digest_of_the_host() -> None:
    assert guest.DIGEST == wire.DIGEST
    assert guest.MAX_TEXT == wire.MAX_TEXT


@pytest.mark.parametrize("text", ["é" * 5000, "\ud800" * 2000, "x" * 8193])
def test_texts_are_cut_to_their_maximum(text: str) -> None:
    frame = guest.encode("failed", "E", text)
    decoder = wire.Decoder("guest")
    decoder.receive_data(frame)
    message = decoder.next_message()
    assert isinstance(message, wire.Failed)
    assert 8180 < len(message.error_message.encode()) <= 8192
    assert message.error_message.endswith("…")

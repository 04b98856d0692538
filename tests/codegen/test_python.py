"""Tests of the Python values of each type, and of refused values, in both styles."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
from tests.support import messages, vectors

from microvm_proto.resolve import read_schema

from .common import TYPES, Generated, Load

Least = Callable[..., Any]


@pytest.fixture(params=["codec.py", "plain.py"])
def codec(request: pytest.FixtureRequest, generated: Generated, load: Load) -> ModuleType:
    """The codec in each style, one after the other."""
    return load(generated(TYPES) / request.param)


@pytest.fixture
def least(codec: ModuleType, generated: Generated) -> Least:
    """Return the smallest message of a name, with some of its fields changed."""
    known = {message.name: message for message in read_schema(TYPES).messages}
    valid = vectors.load(generated(TYPES) / "vectors.json")
    lowest = {vector.message: vector for vector in reversed(valid) if vector.fault is None}

    def least(name: str, **changes: object) -> Any:
        vector = lowest[name]
        message = messages.made(codec, known[name], vector.id, vector.fields)
        return dataclasses.replace(message, **changes)

    return least


REFUSED = [
    ("floats", {"single": 1e39}, "UNKNOWN_VALUE"),
    ("floats", {"single": None}, "UNKNOWN_VALUE"),
    ("floats", {"single_finite": None}, "UNKNOWN_VALUE"),
    ("floats", {"double": 10**400}, "UNKNOWN_VALUE"),
    ("floats", {"single_finite": 1e39}, "UNKNOWN_VALUE"),
    ("floats", {"single_finite": math.nan}, "NOT_FINITE"),
    ("floats", {"double_finite": -math.inf, "single": math.inf}, "NOT_FINITE"),
    ("scalars", {"on": 2}, "UNKNOWN_VALUE"),
    ("scalars", {"access": 4}, "UNKNOWN_VALUE"),
    ("scalars", {"access": -1}, "UNKNOWN_VALUE"),
    ("scalars", {"status": 1 << 32}, "UNKNOWN_VALUE"),
    ("scalars", {"temperature": 1 << 15}, "UNKNOWN_VALUE"),
    ("arrays", {"octets": b"1234"}, "TRUNCATED"),
    ("arrays", {"octets": b"123456"}, "TRAILING_BYTES"),
    ("arrays", {"numbers": (1, 2)}, "TRUNCATED"),
    ("arrays", {"numbers": (1, 2, 3, 4), "floats": (0.0,)}, "TRAILING_BYTES"),
    ("arrays", {"floats": (math.inf, -math.inf)}, "NOT_FINITE"),
    ("arrays", {"points": ()}, "TRUNCATED"),
    ("arrays", {"modes": (2, 3)}, "UNKNOWN_VALUE"),
    ("lists", {"numbers": (0,) * 5}, "TOO_MANY"),
    ("lists", {"modes": (1,)}, "UNKNOWN_VALUE"),
    ("texts", {"title": "é" * 7}, "TOO_LONG"),
    ("texts", {"title": "a\ud800"}, "NOT_UTF8"),
    ("texts", {"label": "\0\ud800"}, "EMBEDDED_NUL"),
    ("renamed", {"kind": 256}, "UNKNOWN_VALUE"),
]


@pytest.mark.thorough
@pytest.mark.parametrize(("name", "changes", "fault"), REFUSED)
def test_encoder_refuses_values_that_decoders_refuse(
    name: str, changes: dict[str, object], fault: str, codec: ModuleType, least: Least
) -> None:
    with pytest.raises(codec.EncodeError) as caught:
        least(name, **changes).encode()
    field = next(iter(changes))
    # Errors contain the names in the schema.
    assert caught.value.fault.name == fault
    assert caught.value.field == {"kind": "class"}.get(field, field)


def decoded(codec: ModuleType, frame: bytes) -> Any:
    decoder = codec.Decoder("left")
    decoder.receive_data(frame)
    return decoder.next_message()


def test_each_type_has_a_python_type(codec: ModuleType, least: Least) -> None:
    scalars = decoded(codec, least("scalars", on=True, access=3, status=0x24).encode())
    assert (scalars.on, scalars.temperature, scalars.distance) == (True, None, None)
    assert scalars.access is codec.Access.READ | codec.Access.WRITE
    assert (type(scalars.status), scalars.status) == (codec.Status, 0x24)
    texts = least("texts", title="Größe 😀")
    assert [texts.title, decoded(codec, texts.encode())] == ["Größe 😀", texts]


@pytest.mark.parametrize("version", [1, 2, 3])
def test_absent_number_is_encoded_like_none(version: int, codec: ModuleType, least: Least) -> None:
    later = codec.Later(1, b"")
    assert later.level is None
    assert dataclasses.replace(later, level=-1).encode(version) == later.encode(version)


def test_memory_for_unknown_flags_is_bounded(codec: ModuleType, least: Least) -> None:
    frame = least("scalars").encode()
    for number in range(0, 1 << 32, 1 << 20):
        start = codec.HEADER_SIZE + 2
        data = frame[:start] + number.to_bytes(4, "little") + frame[start + 4 :]
        status = decoded(codec, data).status
        assert (status, codec.Status.TOP in status) == (number, number >= 1 << 31)
    assert len(codec.Status.__members__) < len(codec.Status._value2member_map_) < 1100

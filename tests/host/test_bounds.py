"""Tests that the bounds in the host's code are the bounds in the schema."""

from __future__ import annotations

from pathlib import Path

import pytest

from microvm import options
from microvm.guest import request
from microvm.wire import session
from microvm_proto.resolve import read_schema
from microvm_proto.types import ByteList, Bytes, Integer, Type

SCHEMA = read_schema(Path(__file__).parents[2] / "protocol/sandboxd.toml")


def type_of(message: str, field: str) -> Type:
    [fields] = [each.fields for each in SCHEMA.messages if each.name == message]
    [found] = [each.type for each in fields if each.name == field]
    return found


@pytest.mark.parametrize("field", ["argv", "env"])
def test_a_list_is_split_where_its_first_field_is_full(field: str) -> None:
    kind = type_of("exec_request", field)
    assert isinstance(kind, ByteList)
    split = (request._ITEMS, request._TOTAL, request._PREFIX)
    assert split == (kind.max_items, kind.max_total, kind.prefix.size)


def test_a_clone_gets_all_the_entropy_that_a_message_takes() -> None:
    kind = type_of("resume", "entropy")
    assert isinstance(kind, Bytes)
    assert kind.maximum == session._ENTROPY_SIZE


@pytest.mark.parametrize(
    ("message", "field", "most"),
    [
        ("exec_request", "max_processes", options._MOST_PROCESSES),
        ("exec_request", "rows", options._MOST_LINES),
        ("exec_request", "columns", options._MOST_LINES),
        ("exec_resize", "rows", options._MOST_LINES),
        ("exec_resize", "columns", options._MOST_LINES),
    ],
)
def test_limits_of_the_host_are_limits_of_the_fields(message: str, field: str, most: int) -> None:
    kind = type_of(message, field)
    assert isinstance(kind, Integer)
    assert most == kind.maximum

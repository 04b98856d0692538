"""Tests of the backend `tables`, which generates the messages and conversations as literals."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import pytest
from tests.support.emitted import emitted

from microvm_proto.digest import wire_digest
from microvm_proto.resolve import read_schema

from .common import INTERPRETER, LETTERS, SANDBOXD, every_schema

pytestmark = pytest.mark.thorough


def tables(path: Path) -> dict[str, Any]:
    """Return the values in the generated module, which Python 3.8 must be able to parse."""
    (text,) = emitted("tables", read_schema(path), "tables.py").values()
    namespace: dict[str, Any] = {}
    exec(compile(ast.parse(text, feature_version=(3, 8)), "tables.py", "exec"), namespace)  # noqa: S102
    return namespace


@every_schema
def test_tables_contain_every_message(schema: Path) -> None:
    found, expected = tables(schema), read_schema(schema)
    assert found["DIGEST"] == wire_digest(expected)
    assert {number: (each[0], each[1]) for number, each in found["MESSAGES"].items()} == {
        each.number: (each.name, each.sender) for each in expected.messages
    }
    for message in expected.messages:
        fields = found["MESSAGES"][message.number][3]
        assert [name for name, _ in fields] == [field.name for field in message.fields]


@pytest.mark.parametrize("path", [INTERPRETER, SANDBOXD, LETTERS], ids=lambda path: path.stem)
def test_tables_contain_every_step(path: Path) -> None:
    found = tables(path)
    for conversation in read_schema(path).conversations:
        table = found[conversation.name.upper()]
        for state in conversation.states:
            for step in state.steps:
                following = table[step.sender][state.name][step.message]
                if isinstance(following, dict):
                    following = following[step.condition]
                assert following == step.following
            for each in state.ignored:
                assert each.message in table[each.sender][state.name]

"""Tests that wrong schemas are reported, and that valid ones pass every backend."""

from __future__ import annotations

import re
import warnings
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, note, settings
from hypothesis import strategies as st
from tests.support.emitted import emitted

from microvm_proto import backends
from microvm_proto.diagnostics import SchemaError
from microvm_proto.resolve import read_schema

from .common import EVERYTHING, TYPES

pytestmark = pytest.mark.thorough

TOKEN = re.compile(r'"""|"[^"\n]*"|[A-Za-z0-9_-]+|\[\[|\]\]|\S')
TEXTS = [EVERYTHING.read_text(), TYPES.read_text()]
TOKENS = sorted(set(TOKEN.findall("".join(TEXTS))))
HOSTILE = """
    -1 0 1.5 1e999 nan true [] {} [[]] [{}] "" "\\u0000" "\\n" "é" 1979-05-27 0x10 2147483648
    18446744073709551616 99999999999999999999 'x' \"\"\" [ ] { } = , . # \\ message enum field
""".split()


@st.composite
def mutated(draw: st.DrawFn) -> str:
    """A strategy of a schema after a few edits, each of a line or a token."""
    lines = draw(st.sampled_from(TEXTS)).split("\n")
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(lines) - 1))
        match draw(st.sampled_from(["delete", "double", "move", "token", "token", "token"])):
            case "delete":
                del lines[at]
            case "double":
                lines.insert(at, lines[at])
            case "move":
                lines.insert(draw(st.integers(0, len(lines) - 1)), lines.pop(at))
            case _:
                tokens = list(TOKEN.finditer(lines[at]))
                if tokens:
                    old = draw(st.sampled_from(tokens))
                    new = draw(st.sampled_from(TOKENS) | st.sampled_from(HOSTILE))
                    lines[at] = lines[at][: old.start()] + new + lines[at][old.end() :]
    return "\n".join(lines)


@given(text=mutated())
@example(text=TEXTS[0])
@example(text=TEXTS[1])
@settings(
    max_examples=250,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_a_mutated_schema_is_reported_or_generated(text: str, tmp_path: Path) -> None:
    note(text)
    path = tmp_path / "schema.toml"
    path.write_text(text)
    try:
        schema = read_schema(path)
    except SchemaError as error:
        check_report(error, text)
        return
    for name in backends.names():
        (written,) = emitted(name, schema, "file").values()
        assert written.endswith("\n")
        if name in ("python", "strategies"):
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                compile(written, "file.py", "exec")


def check_report(error: SchemaError, text: str) -> None:
    """Check that every finding has a position in the text, and is part of the message."""
    lines = text.split("\n")
    for found in error.diagnostics:
        assert found.position
        line, column = found.position.line, found.position.column
        assert 1 <= line <= len(lines)
        assert 1 <= column <= len(lines[line - 1]) + 1
        assert f"{error.path}:{line}:{column}: error: {found.message}" in str(error)


@given(data=st.binary(max_size=200))
@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_bytes_of_any_kind_are_reported(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "schema.toml"
    path.write_bytes(data)
    with pytest.raises(SchemaError) as caught:
        read_schema(path)
    assert str(caught.value).startswith(f"{path}:")

"""Tests of the index of positions. tomllib checks the text at each position."""

from __future__ import annotations

import time
import tomllib
from collections.abc import Iterator
from typing import Any

import pytest

from microvm_proto.positions import Path, Position, index

from .common import SCHEMAS

SYNTAX = r'''
# [no.table] = "of a comment"
title = "a # \" ] \u0020"  # [[no]]
'quoted . key' = 'x = "1" # \'
"" = { "é\n" = [1, { a.b = "}" }], c = {} }
numbers = [+1, -12, 0x1_f, 0o7, 0b1, 1e3, -inf, 1_000]
	dates = [1979-05-27, 07:32:00, 1979-05-27 07:32:00Z, 1979-05-27T07:32:00.5-07:00]
dotted . "in quotes" . deep = true
dotted.'in quotes'.other = false
text = """
[no] "" = \""" # \
  """
literal = LITERAL"" ]
[no]LITERAL
after = [ # ]
  """"]"""", LITERAL'[LITERAL, # " '
  [[], 'é', "\\"], # ]
]
[ table . 'a.b' ]  # ]
x = 1
[table.'a.b'.below]
y = { z = [ ] }
[[array]]
[[ array ]]
x = "[[array]]"
[array.below]
y = 2
'''.replace("LITERAL", "'''")


def values(data: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Yield the path of each value in a document, with the value."""
    yield path, data
    if isinstance(data, dict | list):
        for key, inner in data.items() if isinstance(data, dict) else enumerate(data):
            yield from values(inner, (*path, key))


@pytest.mark.parametrize(
    "text",
    [SYNTAX, SYNTAX.replace("\n", "\r\n"), *(path.read_text() for path in SCHEMAS)],
    ids=["syntax", "line ends", *(path.stem for path in SCHEMAS)],
)
def test_every_value_has_its_written_position(text: str) -> None:
    found = index(text)
    known = dict(values(tomllib.loads(text)))
    assert found.keys() == known.keys()
    lines = text.replace("\r", "").split("\n")
    for path, value in known.items():
        place = found[path]
        rest = lines[place.line - 1][place.column - 1 :]
        written = rest[: place.width]
        try:
            read = tomllib.loads(f"x = {written}")["x"]
        except tomllib.TOMLDecodeError:
            # The header of a table, a dotted key, or the first line of a value.
            assert rest == written or not isinstance(value, str | int | float), path
        else:
            assert read == value or written.startswith("["), path


def test_an_empty_document_has_a_position() -> None:
    assert index("") == {(): Position(1, 1)}


def test_implied_table_has_the_position_of_its_first_sub_table() -> None:
    assert index("[a.b]\n[a.c]\n")["a",] == Position(1, 1, 5)


def test_table_header_may_follow_the_header_of_a_sub_table() -> None:
    assert index("[a.b]\n[a]\n")["a",] == Position(2, 1, 3)


def test_a_sub_table_of_an_array_belongs_to_its_last_item() -> None:
    found = index("[[a]]\n[[a]]\n[a.b]\n[[a.b.c]]\n")
    assert found["a", 1, "b"] == Position(3, 1, 5)
    assert found["a", 1, "b", "c", 0] == Position(4, 1, 9)
    assert ("a", 0, "b") not in found


@pytest.mark.alone
def test_time_grows_linearly_with_the_text() -> None:
    def seconds(tables: int) -> float:
        text = '[[message]]\nname = "x"\nnumber = 1\n' * tables
        times = []
        for _ in range(3):
            began = time.process_time()
            index(text)
            times.append(time.process_time() - began)
        return min(times)

    # An eightfold text takes 64 times as long if each position is searched from the start.
    assert seconds(16_000) / seconds(2_000) < 24

"""Tests of the index of positions, with generated documents whose offsets are known.

A document is drawn as data, and written in every syntax of TOML for it. tomllib checks the result.
"""

from __future__ import annotations

import datetime
import time
import tomllib
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st

from microvm_proto.positions import Path, Position, index

# Text in keys and strings that looks like syntax.
HOSTILE = st.text(st.sampled_from("a=.,#[]{}\"'\\\n\t é\u2028"), max_size=8)
BARE_KEYS = st.text(st.sampled_from("aB-_09"), min_size=1, max_size=3)
KEYS = st.one_of(BARE_KEYS, BARE_KEYS, HOSTILE)
SCALARS = st.one_of(
    HOSTILE,
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False),
    st.dates(),
    st.times(),
    st.datetimes(timezones=st.sampled_from([None, datetime.UTC])),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(KEYS, inner, max_size=3),
        # Values that can be written as an array of tables.
        st.lists(st.dictionaries(KEYS, inner, max_size=3), min_size=1, max_size=3),
    ),
    max_leaves=12,
)
DOCUMENTS = st.dictionaries(KEYS, VALUES, max_size=5)


class Writer:
    """Writes a document in random syntax, and records the position of every value."""

    def __init__(self, draw: st.DrawFn) -> None:
        self.draw = draw
        self.text = ""
        self.newline = draw(st.sampled_from(["\n", "\r\n"]))
        self.spans: dict[Path, tuple[int, int]] = {}
        self.implied: dict[Path, tuple[int, int]] = {}

    def choose(self, *options: str) -> str:
        return self.draw(st.sampled_from(options))

    def put(self, text: str) -> None:
        self.text += text

    def space(self) -> None:
        self.put(self.choose("", " ", "\t "))

    def blank(self) -> None:
        """Return a separator of items of an array."""
        self.put(self.choose("", " ", "\n", "# ] \" '\n\n ").replace("\n", self.newline))

    def end_line(self) -> None:
        self.space()
        self.put(self.choose("\n", "# [a] = '''\n", "\n\n \n").replace("\n", self.newline))

    def document(self, data: dict[str, Any]) -> None:
        self.table((), data, header=False)

    def table(self, path: Path, data: dict[str, Any], *, header: bool) -> None:
        """Write a table as a section: first its own lines, then its sub-sections."""
        lines: list[tuple[str, Any, str]] = []
        sections: list[tuple[str, Any, str]] = []
        for key, value in data.items():
            kinds = ["line"]
            if isinstance(value, dict):
                kinds += ["section", "dotted"] if value else ["section"]
            elif isinstance(value, list) and value and all(isinstance(x, dict) for x in value):
                kinds.append("array")
            kind = self.choose(*kinds)
            (sections if kind in ("section", "array") else lines).append((key, value, kind))
        early = header and bool(sections) and self.draw(st.booleans())
        if early:
            # The header of a sub-table may come first; it implies this table.
            self.sections(path, sections)
        if header and (lines or not sections or self.draw(st.booleans())):
            self.header(path, array=False)
        for key, value, kind in lines:
            self.pairs(path, (key,), value, dotted=kind == "dotted")
            self.end_line()
        if not early:
            self.sections(path, sections)

    def sections(self, path: Path, sections: list[tuple[str, Any, str]]) -> None:
        for key, value, kind in sections:
            if kind == "section":
                self.table((*path, key), value, header=True)
                continue
            for number, item in enumerate(value):
                self.header((*path, key, number), array=True)
                self.table((*path, key, number), item, header=False)

    def header(self, path: Path, *, array: bool) -> None:
        self.space()
        start = len(self.text)
        self.put("[[" if array else "[")
        self.space()
        self.keys([key for key in path if isinstance(key, str)])
        self.put("]]" if array else "]")
        span = (start, len(self.text))
        for length in range(1, len(path)):
            if length < len(path) - array:
                self.implied.setdefault(path[:length], span)
        if array:
            self.spans.setdefault(path[:-1], span)
        self.spans[path] = span
        self.end_line()

    def pairs(self, table: Path, keys: tuple[str, ...], value: Any, *, dotted: bool) -> None:
        """Write one `key = value`, or a line with dotted keys for each leaf of a table."""
        if not dotted:
            self.pair(table, keys, value)
            return
        for number, (key, inner) in enumerate(value.items()):
            if number:
                self.end_line()
            deeper = isinstance(inner, dict) and bool(inner) and self.draw(st.booleans())
            self.pairs(table, (*keys, key), inner, dotted=deeper)

    def pair(self, table: Path, keys: tuple[str, ...], value: Any) -> None:
        self.space()
        start = len(self.text)
        self.keys(list(keys))
        for length in range(1, len(keys)):
            self.spans.setdefault((*table, *keys[:length]), (start, len(self.text)))
        self.put("=")
        self.space()
        self.value((*table, *keys), value)

    def keys(self, keys: list[str]) -> None:
        for number, key in enumerate(keys):
            if number:
                self.put(".")
                self.space()
            self.put(self.key(key))
            self.space()

    def key(self, key: str) -> str:
        forms = [basic(key)]
        if key and key.isascii() and key.replace("-", "").replace("_", "0").isalnum():
            forms.append(key)
        if not set(key) & set("'\n"):
            forms.append(f"'{key}'")
        return self.choose(*forms)

    def value(self, path: Path, value: Any) -> None:
        start = len(self.text)
        if isinstance(value, dict):
            self.inline(path, value)
        elif isinstance(value, list):
            self.array(path, value)
        else:
            self.put(self.scalar(value))
        self.spans[path] = (start, len(self.text))

    def array(self, path: Path, items: list[Any]) -> None:
        self.put("[")
        for number, item in enumerate(items):
            self.blank()
            self.value((*path, number), item)
            self.blank()
            if number < len(items) - 1 or self.draw(st.booleans()):
                self.put(",")
        self.blank()
        self.put("]")

    def inline(self, path: Path, table: dict[str, Any]) -> None:
        self.put("{")
        for number, (key, item) in enumerate(table.items()):
            if number:
                self.put(",")
            keys: tuple[str, ...] = (key,)
            value = item
            # A table with one key can be written as a dotted key.
            while isinstance(value, dict) and len(value) == 1 and self.draw(st.booleans()):
                (inner,) = value
                keys, value = (*keys, inner), value[inner]
            self.pair(path, keys, value)
            self.space()
        self.put("}")

    def scalar(self, value: Any) -> str:
        match value:
            case bool():
                return str(value).lower()
            case str():
                return self.string(value)
            case int() if value >= 0:
                return self.choose(str(value), f"+{value}", hex(value), oct(value), bin(value))
            case datetime.datetime():
                return value.isoformat(sep=self.choose("T", " "))
            case datetime.date() | datetime.time():
                return value.isoformat()
        return repr(value)

    def string(self, text: str) -> str:
        lines = text.replace("\n", self.newline)
        forms = [
            basic(text),
            f'"""{self.newline}{long(lines)}"""',
            f'"""\\{self.newline}  {basic(text)[1:-1]}"""',
        ]
        if "'" not in text and "\n" not in text:
            forms.append(f"'{text}'")
        if "'''" not in text:
            forms.append(f"'''{self.newline}{lines}'''")
        if not text.startswith("\n"):
            forms.append(f'"""{long(lines)}"""')
        return self.choose(*forms)


def basic(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    # White space after the last backslash of a line would be lost.
    return f'"{escaped.replace(" ", chr(92) + "u0020").replace(chr(9), chr(92) + "t")}"'


def long(text: str) -> str:
    """Return the inside of a multi-line string, which may contain up to two quotes in a row."""
    return text.replace("\\", "\\\\").replace('"""', '""\\"')


@st.composite
def documents(draw: st.DrawFn) -> tuple[dict[str, Any], Writer]:
    data = draw(DOCUMENTS)
    writer = Writer(draw)
    writer.document(data)
    return data, writer


def paths(value: Any, path: Path = ()) -> Iterator[Path]:
    yield path
    if isinstance(value, dict | list):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from paths(inner, (*path, key))


def position(text: str, start: int, end: int) -> Position:
    before = text[:start].split("\n")
    width = len(text[start:end].split("\n", maxsplit=1)[0])
    return Position(len(before), len(before[-1]) + 1, width)


@given(documents())
@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
def test_every_value_has_its_written_position(document: tuple[dict[str, Any], Writer]) -> None:
    data, writer = document
    parsed = tomllib.loads(writer.text)
    assert parsed == data, "the test writes TOML wrongly"
    spans = writer.implied | writer.spans
    expected = {path: position(writer.text, *span) for path, span in spans.items()}
    note(writer.text)
    assert index(writer.text) == {(): Position(1, 1)} | expected
    assert set(index(writer.text)) == set(paths(parsed))


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

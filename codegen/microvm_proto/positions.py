"""Finds the positions of keys and values in a TOML document, which tomllib does not report.

The scanner knows the whole syntax of TOML: tables, arrays of tables, dotted and quoted keys, every
kind of string, and values that span several lines. It works only on documents that tomllib has
accepted.
"""

from __future__ import annotations

import bisect
import itertools
import re
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

Path: TypeAlias = tuple[str | int, ...]

_BARE = re.compile(r"[A-Za-z0-9_-]+")
_BLANK = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_SPACE = re.compile(r"[ \t]*")
_STRING = re.compile(
    r'"""(?:\\.|[^\\])*?"{3,5}' r"|'''[\s\S]*?'{3,5}" r'|"(?:\\.|[^"\\\n])*"' r"|'[^'\n]*'",
    re.DOTALL,
)
_ATOM = re.compile(r"[^,\]}\n#]+")


@dataclass(frozen=True, slots=True)
class Position:
    """A position in a TOML document. Line and column count from 1; `width` is in characters."""

    line: int
    column: int
    width: int = 1


START = Position(1, 1)


def index(text: str) -> dict[Path, Position]:
    """Return the position of every value, table and array item in a valid TOML document.

    The keys are paths, such as `("message", 3, "field", 0, "type")`; `()` is the document itself.
    """
    return _Scanner(text).scan()


class _Scanner:
    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        # Offset in the text at which each line begins.
        self.lines = [0, *(match.end() for match in re.finditer("\n", text))]
        self.found: dict[Path, Position] = {(): START}
        self.implied: dict[Path, Position] = {}
        self.lengths: dict[Path, int] = {}

    def scan(self) -> dict[Path, Position]:
        table: Path = ()
        while True:
            self.skip(_BLANK)
            if self.at >= len(self.text):
                return self.implied | self.found
            if self.text[self.at] == "[":
                table = self.header()
            else:
                self.pair(table)

    def skip(self, pattern: re.Pattern[str]) -> None:
        if match := pattern.match(self.text, self.at):
            self.at = match.end()

    def mark(self, path: Path, start: int, end: int) -> None:
        self.found.setdefault(path, self.position(start, end))

    def position(self, start: int, end: int) -> Position:
        line = bisect.bisect_right(self.lines, start)
        stop = min(end, self.lines[line] - 1 if line < len(self.lines) else len(self.text))
        return Position(line, start - self.lines[line - 1] + 1, max(1, stop - start))

    def header(self) -> Path:
        start = self.at
        array = self.text.startswith("[[", start)
        self.at += 2 if array else 1
        path: Path = ()
        keys = self.keys("]")
        self.at += 2 if array else 1
        for key in keys[:-1]:
            path = (*path, key)
            # The header `[a.b]` also creates the table `a`, so record its position as that of `a`.
            # If the header `[a]` comes later in the document, its position replaces this one.
            self.implied.setdefault(path, self.position(start, self.at))
            path = self.descend(path)
        path = (*path, keys[-1])
        if array:
            self.mark(path, start, self.at)
            number = self.lengths.get(path, 0)
            self.lengths[path] = number + 1
            path = (*path, number)
        self.mark(path, start, self.at)
        return path

    def descend(self, path: Path) -> Path:
        """Return `path`; if it is the path of an array of tables, extend it to the last table."""
        return (*path, self.lengths[path] - 1) if path in self.lengths else path

    def keys(self, until: str) -> list[str]:
        keys = []
        while self.text[self.at] != until:
            self.skip(_SPACE)
            is_quoted = self.text[self.at] in "\"'"
            match = (_STRING if is_quoted else _BARE).match(self.text, self.at)
            assert match is not None  # noqa: S101 - tomllib has accepted the document
            keys.append(_unquote(match.group()) if is_quoted else match.group())
            self.at = match.end()
            self.skip(_SPACE)
            if self.text[self.at] == ".":
                self.at += 1
        return keys

    def pair(self, table: Path) -> None:
        start = self.at
        keys = self.keys("=")
        path: Path = (*table, *keys)
        for length in range(len(table) + 1, len(path)):
            self.mark(path[:length], start, self.at)
        self.at += 1
        self.skip(_SPACE)
        self.value(path)

    def value(self, path: Path) -> None:
        start = self.at
        opening = self.text[start]
        if opening == "[":
            self.several("]", lambda number: self.value((*path, number)))
        elif opening == "{":
            self.several("}", lambda _: self.pair(path))
        else:
            match = (_STRING if opening in "\"'" else _ATOM).match(self.text, start)
            assert match is not None  # noqa: S101 - tomllib has accepted the document
            self.at = start + len(match.group().rstrip())
        self.mark(path, start, self.at)

    def several(self, closing: str, scan: Callable[[int], None]) -> None:
        """Call `scan` with the number of each item of an array or inline table, up to `closing`."""
        self.at += 1
        for number in itertools.count():
            self.skip(_BLANK)
            if self.text[self.at] == closing:
                self.at += 1
                return
            scan(number)
            self.skip(_BLANK)
            if self.text[self.at] == ",":
                self.at += 1


def _unquote(text: str) -> str:
    # A quoted key has the syntax of a string, so tomllib can decode its escapes.
    value = tomllib.loads(f"key = {text}")["key"]
    assert isinstance(value, str)  # noqa: S101 - tomllib has accepted the document
    return value

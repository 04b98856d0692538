"""The findings about a schema, and how they are shown to people: position, problem and hint."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from microvm_proto.positions import Position

CONTROL = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]"
)
"""Control characters, except tab and newline, and characters that break lines or reverse text.

Output to a terminal must not contain them, because they could mislead its reader.
"""

_LONGEST_SHOWN = 500
"""Maximum number of characters up to which a line of the file is shown with a finding."""


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """An error or a note about a schema file, with the broken rule, a message and a hint.

    :ivar hint: One line that describes how to solve the problem; may be empty.
    """

    rule: str
    message: str
    hint: str
    position: Position | None
    is_note: bool = False


class SchemaError(Exception):
    """The schema is invalid, or cannot be read."""

    def __init__(self, path: Path, text: str, diagnostics: Iterable[Diagnostic]) -> None:
        self.path = path
        self.text = text
        self.diagnostics = in_order(diagnostics)
        super().__init__(render(path, text, self.diagnostics))


def in_order(diagnostics: Iterable[Diagnostic]) -> list[Diagnostic]:
    """Return findings in the order of their positions in the file."""
    return sorted(diagnostics, key=lambda found: _line_and_column(found.position))


def render(path: Path, text: str, diagnostics: Iterable[Diagnostic]) -> str:
    """Return findings as text for people: each with its line of the file and a mark below."""
    lines = text.split("\n")
    return "\n".join(_render_one(path, lines, found) for found in diagnostics)


def _line_and_column(position: Position | None) -> tuple[int, int]:
    return (position.line, position.column) if position else (0, 0)


def _render_one(path: Path, lines: list[str], found: Diagnostic) -> str:
    where = f"{path}:{found.position.line}:{found.position.column}" if found.position else path
    kind = "note" if found.is_note else "error"
    parts = [f"{where}: {kind}: {found.message} [{found.rule}]"]
    if found.position:
        parts += _underlined(lines, found.position)
    if found.hint:
        parts.append(f"    hint: {found.hint}")
    return "\n".join(parts)


def _underlined(lines: list[str], position: Position) -> list[str]:
    line, column = position.line, position.column
    source = CONTROL.sub("?", lines[line - 1].rstrip("\r")) if line <= len(lines) else ""
    if not source.strip() or len(source) > _LONGEST_SHOWN:
        return []
    # The margin has tabs where the line has tabs, so that the mark is below the right character.
    margin = "".join("\t" if char == "\t" else " " for char in source[: column - 1])
    caret = "^" * max(1, min(position.width, len(source) - column + 1))
    return [f"    {source}", f"    {margin}{caret}"]

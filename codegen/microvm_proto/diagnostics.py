"""The findings about a schema: where something is wrong, why, and how to mend it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from microvm_proto.positions import Position

CONTROL = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]"
)
"""The characters that steer a terminal, break a line, or turn text around; not tab and newline."""

_LONGEST_SHOWN = 500
"""Characters of a line that is shown with a finding."""


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """A finding about a schema.

    :ivar rule: the id of the rule, such as `unknown-type`.
    :ivar message: what is wrong, one line.
    :ivar hint: how to mend it, one line; may be empty.
    :ivar position: the place; lines and columns count from 1. None when there is no text.
    :ivar is_note: whether it is only worth knowing.
    """

    rule: str
    message: str
    hint: str
    position: Position | None
    is_note: bool = False


class SchemaError(Exception):
    """The schema cannot be used.

    :ivar path: the schema file.
    :ivar diagnostics: every finding, in the order of the file.
    """

    def __init__(self, path: Path, text: str, diagnostics: Iterable[Diagnostic]) -> None:
        self.path = path
        self.text = text
        self.diagnostics = in_order(diagnostics)
        super().__init__(render(path, text, self.diagnostics))


def in_order(diagnostics: Iterable[Diagnostic]) -> list[Diagnostic]:
    """Sort findings in the order of their file."""
    return sorted(diagnostics, key=lambda found: _place(found.position))


def render(path: Path, text: str, diagnostics: Iterable[Diagnostic]) -> str:
    """Render findings as people read them, each with its line of the file and a caret."""
    lines = text.split("\n")
    return "\n".join(_render_one(path, lines, found) for found in diagnostics)


def _place(position: Position | None) -> tuple[int, int]:
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
    # Tabs stay tabs in the margin, so that the caret stands under what it means.
    margin = "".join("\t" if char == "\t" else " " for char in source[: column - 1])
    caret = "^" * max(1, min(position.width, len(source) - column + 1))
    return [f"    {source}", f"    {margin}{caret}"]

"""What is wrong with a schema: where, why, and how to mend it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from microvm_proto.positions import Position


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """One finding.

    :ivar rule: the id of the rule, such as `unknown-type`.
    :ivar message: what is wrong, one line.
    :ivar hint: how to mend it, one line; may be empty.
    :ivar position: where; lines and columns count from 1.
    """

    rule: str
    message: str
    hint: str
    position: Position


class SchemaError(Exception):
    """A schema cannot be used.

    :ivar path: the schema file.
    :ivar diagnostics: every finding, in the order of the file.
    """

    def __init__(self, path: Path, text: str, diagnostics: Iterable[Diagnostic]) -> None:
        self.path = path
        self.text = text
        self.diagnostics = sorted(
            diagnostics, key=lambda found: (found.position.line, found.position.column)
        )
        super().__init__(self._render())

    def _render(self) -> str:
        lines = self.text.split("\n")
        return "\n".join(self._render_one(found, lines) for found in self.diagnostics)

    def _render_one(self, found: Diagnostic, lines: list[str]) -> str:
        line, column, width = found.position.line, found.position.column, found.position.width
        source = lines[line - 1].rstrip("\r") if line <= len(lines) else ""
        # Tabs stay tabs in the margin, so that the caret stands under what it means.
        margin = "".join("\t" if char == "\t" else " " for char in source[: column - 1])
        caret = "^" * max(1, min(width, len(source) - column + 1))
        parts = [f"{self.path}:{line}:{column}: error: {found.message} [{found.rule}]"]
        if source.strip():
            parts += [f"    {source}", f"    {margin}{caret}"]
        if found.hint:
            parts.append(f"    hint: {found.hint}")
        return "\n".join(parts)

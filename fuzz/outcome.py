"""The outcome of a rung."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of a rung that ran for so many seconds."""

    executions: int
    frames: int
    seconds: float
    findings: Sequence[str] = ()
    notes: str = ""

    def __str__(self) -> str:
        """Say it on a line, and each finding below."""
        head = (
            f"{self.executions:,} executions, {self.frames:,} frames in {self.seconds:.0f} s,"
            f" {len(self.findings)} findings; {self.notes}"
        )
        return "\n".join([head, *self.findings])

"""What a rung reports."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a rung did in so many seconds."""

    executions: int
    frames: int
    seconds: float
    findings: Sequence[str] = ()
    notes: str = ""

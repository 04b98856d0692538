"""The report of a rung."""

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

"""What a rung reports."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a rung did in its time."""

    rung: str
    executions: int
    frames: int
    seconds: float
    seed: int
    findings: tuple[str, ...] = ()
    notes: str = ""

"""Seeded bugs, by which the fuzzers are measured."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Mutant:
    """A seeded bug: in `file`, the one place that reads `old` reads `new`.

    `kind` is crash or logic.
    """

    name: str
    file: str
    old: str
    new: str
    kind: str

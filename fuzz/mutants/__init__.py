"""Seeded bugs, to see whether the rungs find them: `python -m fuzz.mutants`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Mutant:
    """A seeded bug: in `file`, the one place that reads `old` reads `new`.

    :ivar file: from the project's root.
    :ivar kind: "crash" when it can touch memory it must not, or end its process; else a word for
        what it is.
    """

    name: str
    file: str
    old: str
    new: str
    kind: str

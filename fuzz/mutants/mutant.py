"""What a seeded bug is."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Mutant:
    """One bug, seeded into one file: in it `old`, which is there once, becomes `new`.

    :ivar file: from the project's root.
    :ivar kind: what sort of bug, in the words of those who write them.
    """

    name: str
    file: str
    old: str
    new: str
    kind: str

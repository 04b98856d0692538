"""Seeded bugs, to see whether the rungs find them: `python -m fuzz.mutants`.

They are patches without line numbers. Behind `--- FILE` each bug of it begins with
`@@ KIND @@ NAME`; what it changes are whole lines, which stand in that file once. A bug of the kind
"crash" touches memory that it must not. In `proofs.patch` the kind is the proof that must fail.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent

RUNGS = {
    "decoder": ("decoder", "differential", "daemon"),
    "codec": ("differential", "host"),
    "daemon": ("daemon",),
    "guest": ("guest",),
    "host": ("host",),
    "proofs": ("proofs",),
}
"""The rungs that look for the bugs of a patch."""


@dataclass(frozen=True, slots=True)
class Mutant:
    """A seeded bug: in `file`, from the project's root, the lines `old` read `new`."""

    name: str
    kind: str
    file: str
    old: str
    new: str
    rungs: tuple[str, ...]

    def seed(self, tree: Path) -> None:
        """Write the bug into a copy of the project.

        :raises ValueError: its lines are not there, or more than once.
        """
        path = tree / self.file
        text = "\n" + path.read_text()
        if text.count(self.old) != 1 or self.old == self.new:
            raise ValueError(f"{self.name}: {self.file} has {text.count(self.old)} such places")
        path.write_text(text.replace(self.old, self.new)[1:])


def mutants(patch: str) -> Iterator[Mutant]:
    """Yield the bugs of `PATCH.patch`."""
    for part in (HERE / f"{patch}.patch").read_text().split("--- ")[1:]:
        file, *hunks = re.split(r"\n@@ ", part.rstrip("\n"))
        for hunk in hunks:
            head, *lines = hunk.split("\n")
            kind, name = head.split(" @@ ")
            old, new = (
                "".join(f"\n{line[1:]}" for line in lines if line[0] in f" {sign}") + "\n"
                for sign in "-+"
            )
            yield Mutant(name, kind, file, old, new, RUNGS[patch])

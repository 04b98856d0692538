"""Seeded bugs, which test whether the rungs find bugs: `python -m fuzz.mutants`.

The bugs are patches without line numbers. After `--- FILE`, each bug begins with `@@ KIND @@ NAME`,
followed by `@@ PROOF` if a proof must fail. A bug replaces whole lines, which occur once in the
file. The kind "crash" is an invalid memory access; the kind "control" is no bug. In the patch
"conversation", the kind is the name of the finder that must find the bug.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent

RUNGS = {
    "control": ("decoder", "differential", "daemon", "guest", "host", "proofs"),
    "decoder": ("decoder", "differential", "daemon"),
    "codec": ("differential", "host"),
    "encoders": ("differential",),
    "daemon": ("daemon",),
    "guest": ("guest",),
    "host": ("host",),
    "proofs": (),
    "conversation": (),
}
"""The rungs that search for the bugs of each patch. If a bug names a proof, CBMC also does."""

FINDERS = ("trace", "vector")
"""The checks of conversations: each bug of the patch "conversation" names the one that finds it."""


@dataclass(frozen=True, slots=True)
class Mutant:
    """A seeded bug.

    :ivar proof: Name of the harness that must fail; empty if none must.
    """

    name: str
    kind: str
    proof: str
    file: str
    old: str
    new: str
    rungs: tuple[str, ...]

    def seed(self, tree: Path) -> None:
        """Write the bug into a copy of the project."""
        path = tree / self.file
        text = "\n" + path.read_text()
        if text.count(self.old) != 1 or self.old == self.new:
            count = text.count(self.old)
            raise ValueError(f"{self.name}: {self.file} contains the lines {count} times")
        path.write_text(text.replace(self.old, self.new)[1:])


def mutants() -> Iterator[Mutant]:
    """Yield all bugs, patch by patch."""
    for patch, rungs in RUNGS.items():
        for part in (HERE / f"{patch}.patch").read_text().split("--- ")[1:]:
            file, *hunks = re.split(r"\n@@ ", part.rstrip("\n"))
            for head, *lines in (hunk.split("\n") for hunk in hunks):
                kind, name, proof = (*head.split(" @@ "), "")[:3]
                old, new = (
                    "".join(f"\n{line[1:]}" for line in lines if line[0] in f" {sign}") + "\n"
                    for sign in "-+"
                )
                looking = (*rungs, "proofs") if proof else rungs
                if patch == "conversation" or kind == "control":
                    looking = (*looking, *FINDERS) if kind == "control" else (kind,)
                yield Mutant(name, kind, proof, file, old, new, looking)

"""Seeded bugs, to see whether the rungs find them: `python -m fuzz.mutants`.

They are patches without line numbers. Behind `--- FILE` each bug of it begins with
`@@ KIND @@ NAME`, and with `@@ PROOF` where a proof must fail; what it changes are whole lines,
which stand in that file once. A bug of the kind "crash" touches memory that it must not; the kind
"control" is no bug.
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
}
"""The rungs that look for the bugs of a patch; CBMC does for those that name a proof."""


@dataclass(frozen=True, slots=True)
class Mutant:
    """A seeded bug: in `file`, from the project's root, the lines `old` read `new`.

    :ivar proof: the harness that must fail, if any.
    """

    name: str
    kind: str
    proof: str
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
                yield Mutant(name, kind, proof, file, old, new, looking)

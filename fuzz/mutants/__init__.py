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
        replace(tree / self.file, self.old, self.new, self.name)


def replace(path: Path, old: str, new: str, name: str) -> None:
    """Replace lines that occur once in a file; `name` is the bug's name in an error."""
    text = "\n" + path.read_text()
    if text.count(old) != 1 or old == new:
        raise ValueError(f"{name}: {path.name} contains the lines {text.count(old)} times")
    path.write_text(text.replace(old, new)[1:])


def hunks(patch: Path) -> Iterator[tuple[str, list[str], str, str]]:
    """Yield the file, the fields of the head, the old and the new lines of each bug of a patch."""
    for part in re.split(r"^--- ", patch.read_text(), flags=re.M)[1:]:
        file, *parts = re.split(r"\n@@ ", part.rstrip("\n"))
        for head, *lines in (each.split("\n") for each in parts):
            old, new = (
                "".join(f"\n{line[1:]}" for line in lines if line[:1] in f" {sign}") + "\n"
                for sign in "-+"
            )
            yield file, head.split(" @@ "), old, new


def mutants() -> Iterator[Mutant]:
    """Yield all bugs, patch by patch."""
    for patch, rungs in RUNGS.items():
        for file, head, old, new in hunks(HERE / f"{patch}.patch"):
            kind, name, proof = (*head, "")[:3]
            looking = (*rungs, "proofs") if proof else rungs
            if patch == "conversation" or kind == "control":
                looking = (*looking, *FINDERS) if kind == "control" else (kind,)
            yield Mutant(name, kind, proof, file, old, new, looking)

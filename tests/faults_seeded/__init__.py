"""Seeded faults, which judge whether the tests find faults: `python -m tests.faults_seeded`.

The patches have the format of those in `fuzz/mutants`. The head of each fault is
`@@ TESTS @@ NAME @@ ORIGIN`: the tests that find the fault, cheapest first; and where the fault
comes from. The origin is `fuzz/mutants`, `fuzz/model`, the abbreviated hash of the commit that
fixed the fault, or `new`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from fuzz.mutants import hunks, replace

HERE = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class SeededFault:
    """A fault that a test must find.

    :ivar patch: Name of the patch's file.
    :ivar file: Path of the file that the fault changes.
    :ivar tests: Names of the tests that find the fault, cheapest first, as pytest takes them.
    """

    patch: str
    file: str
    tests: tuple[str, ...]
    name: str
    origin: str
    old: str
    new: str

    def seed(self, tree: Path) -> None:
        """Write the fault into a copy of the project."""
        replace(tree / self.file, self.old, self.new, self.name)


def seeded() -> Iterator[SeededFault]:
    """Yield all faults, patch by patch.

    :raises ValueError: If the head of a fault does not have three fields.
    """
    for patch in sorted(HERE.glob("*.patch")):
        for file, head, old, new in hunks(patch):
            if len(head) != 3:
                raise ValueError(f"{patch.name}: a head of {len(head)} fields: {head}")
            tests, name, origin = head
            yield SeededFault(patch.stem, file, tuple(tests.split()), name, origin, old, new)

"""Remove code from a generated Python module that the module does not need.

Shared code is the same for every schema. A definition in shared code is removed if no other code
uses its name.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable


class Shared(str):
    """Shared Python definitions, two empty lines apart. A module keeps only those that it uses."""

    __slots__ = ()


def needed(parts: Iterable[str]) -> tuple[list[str], Collection[str]]:
    """Return the texts `parts` of a module without the shared definitions that nothing uses.

    Also return the words that occur in these parts. Parts that are not `Shared` stay as they are. A
    definition is used if its name occurs in such a part, or in another definition that is used.
    """
    words: set[str] = set()
    found = list(parts)
    for part in found:
        words |= set() if isinstance(part, Shared) else _words(part)
    kept: list[str] = []
    for part in reversed(found):
        pieces = part.strip("\n").split("\n\n\n") if isinstance(part, Shared) else []
        used: list[str] = []
        for piece in reversed(pieces):
            (names,) = re.findall(r"^(?:class |def )?(\w+(?:, \w+)*)", piece, re.MULTILINE)[:1]
            if words & {*names.split(", ")}:
                words |= _words(piece)
                used.insert(0, piece)
        kept.insert(0, "\n\n\n".join(used) if isinstance(part, Shared) else part)
    return kept, words


def _words(code: str) -> set[str]:
    return {*re.findall(r"\w+", re.sub(r'"""(?s:.*?)"""', "", code))}

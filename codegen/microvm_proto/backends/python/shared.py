"""Select the shared code that a generated module needs.

Shared code is the same for every schema. A definition in it is left out if nothing uses its name.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable


class Shared(str):
    """Shared code: definitions with two empty lines between them."""

    __slots__ = ()


def needed(parts: Iterable[str]) -> tuple[list[str], Collection[str]]:
    """Remove unused definitions from shared code; return the parts and all words in their code.

    Parts that are not shared remain as they are. A definition is used if its name occurs in a part
    that is not shared, or in another definition that is used.
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

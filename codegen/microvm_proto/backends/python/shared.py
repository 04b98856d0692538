"""The choice of what a generated module needs of the code that is the same for every schema."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable


class Shared(str):
    """Code that is the same for every schema, in pieces with two empty lines between them."""

    __slots__ = ()


def needed(parts: Iterable[str]) -> tuple[list[str], Collection[str]]:
    """Return the parts, shared ones as far as others need them, and the words of their code."""
    words: set[str] = set()
    found = list(parts)
    for part in found:
        words |= set() if isinstance(part, Shared) else _words(part)
    kept: list[str] = []
    for part in reversed(found):
        pieces = part.strip("\n").split("\n\n\n") if isinstance(part, Shared) else []
        there: list[str] = []
        for piece in reversed(pieces):
            (names,) = re.findall(r"^(?:class |def )?(\w+(?:, \w+)*)", piece, re.MULTILINE)[:1]
            if words & {*names.split(", ")}:
                words |= _words(piece)
                there.insert(0, piece)
        kept.insert(0, "\n\n\n".join(there) if isinstance(part, Shared) else part)
    return kept, words


def _words(code: str) -> set[str]:
    return {*re.findall(r"\w+", re.sub(r'"""(?s:.*?)"""', "", code))}

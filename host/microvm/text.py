"""Text of others, made safe to print, and what somebody may have meant who wrote a name wrongly."""

from __future__ import annotations

from collections.abc import Iterable

_MOST_NAMES = 3


def printable(text: str) -> str:
    r"""Escape what would move a cursor, or is no character: `\x1b`, `\n`, `\udcff`.

    What comes of it is one line, whoever wrote the text: a guest, a file, an argument.
    """
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode() for char in text
    )


def near(name: str, names: Iterable[str]) -> str:
    """Return the names that begin so, or else come near, as a hint; empty if none does."""
    from difflib import get_close_matches  # it takes a while to import

    known = list(names)
    begun = [each for each in known if name and each.startswith(name)]
    close = begun[:_MOST_NAMES] or get_close_matches(name, known)
    return f"did you mean {' or '.join(close)}?" if close else ""

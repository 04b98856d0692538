"""Text of others, made safe to print."""

from __future__ import annotations


def printable(text: str) -> str:
    r"""Escape what would move a cursor, or is no character: `\x1b`, `\n`, `\udcff`.

    What comes of it is one line, whoever wrote the text: a guest, a file, an argument.
    """
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode() for char in text
    )

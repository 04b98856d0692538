"""Text of others, made safe to print."""

from __future__ import annotations


def printable(text: str) -> str:
    r"""Escape what would move a cursor, or is no character: `\x1b`, `\n`, `\xff`.

    A surrogate that stands for a byte is shown as that byte, which is what its user has typed. What
    comes of it is one line, whoever wrote the text: a guest, a file, an argument.
    """
    return text if text.isprintable() else "".join(map(_escaped, text))


def quoted(text: str) -> str:
    r"""Return a name as an error shows it that refuses the name: `'a\xff b'`."""
    return f"'{printable(text)}'"


def _escaped(char: str) -> str:
    if char.isprintable():
        return char
    if "\udc80" <= char <= "\udcff":
        return f"\\x{ord(char) - 0xDC00:02x}"
    return char.encode("unicode_escape").decode()

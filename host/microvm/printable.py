"""Text of others, made safe to print."""

from __future__ import annotations


def printable(text: str) -> str:
    r"""Escape control characters and invalid ones, such as `\x1b`, `\n` and `\xff`.

    A surrogate that stands for a byte is shown as that byte, because the user typed the byte. The
    result is always a single line, even if a guest, a file or an argument supplied the text.
    """
    return text if text.isprintable() else "".join(map(_escaped, text))


def quoted(text: str) -> str:
    r"""Return a name in quotes, for an error that refuses the name: `'a\xff b'`."""
    return f"'{printable(text)}'"


def _escaped(char: str) -> str:
    if char.isprintable():
        return char
    if "\udc80" <= char <= "\udcff":
        return f"\\x{ord(char) - 0xDC00:02x}"
    return char.encode("unicode_escape").decode()

"""Functions that make text from a guest, a file or a user safe to print."""

from __future__ import annotations


def printable(text: str) -> str:
    r"""Replace control characters and invalid characters by escapes, such as `\x1b` or `\n`.

    A byte that is not valid UTF-8 is shown as an escape such as `\xff`. The result is always a
    single line, so text from a guest, a file or an argument can be part of a message.
    """
    return text if text.isprintable() else "".join(map(_escaped, text))


def quoted(text: str) -> str:
    r"""Return a name in quotes and with escapes, such as `'a\xff b'`, for an error message."""
    return f"'{printable(text)}'"


def _escaped(char: str) -> str:
    if char.isprintable():
        return char
    if "\udc80" <= char <= "\udcff":
        return f"\\x{ord(char) - 0xDC00:02x}"
    return char.encode("unicode_escape").decode()

"""Excerpts of long texts: the beginning and the end, with a note about the part between."""

from __future__ import annotations


class Excerpt:
    """The beginning and the end of an output, without the bytes between that exceed a limit."""

    def __init__(self, limit: int) -> None:
        """Create an excerpt of nothing, which will have at most `limit` bytes and a note."""
        self._head = bytearray()
        self._tail = bytearray()
        self._head_limit = limit - limit // 2
        self._tail_limit = limit // 2
        self._size = 0

    def feed(self, data: bytes | bytearray | memoryview) -> None:
        """Add the next bytes of the output."""
        self._size += len(data)
        room = self._head_limit - len(self._head)
        self._head += data[:room]
        self._tail += data[room:]
        if len(self._tail) > 2 * self._tail_limit:
            self._shorten()

    def _shorten(self) -> None:
        del self._tail[: max(0, len(self._tail) - self._tail_limit)]

    def __str__(self) -> str:
        """The excerpt as text. U+FFFD replaces bytes that are not UTF-8."""
        self._shorten()
        cut = self._size - len(self._head) - len(self._tail)
        if not cut:
            return (self._head + self._tail).decode(errors="replace")
        head, tail = (part.decode(errors="replace") for part in (self._head, self._tail))
        return f"{head}\n[… {cut} of {self._size} bytes are cut here …]\n{tail}"


def excerpt(text: str, limit: int) -> str:
    """Return a text, or an excerpt of it if it has more than `limit` bytes."""
    shown = Excerpt(limit)
    shown.feed(text.encode(errors="replace"))
    return str(shown)

"""A splitter of what a guest sends into frames, for the log; it checks nothing in them."""

from __future__ import annotations

from microvm.wire.codec import HEADER_SIZE, MAX_BODY


class Frames:
    """A stream of frames, however it is cut: what was received of it, and not yet taken."""

    def __init__(self) -> None:
        self._rest = bytearray()

    def receive_data(self, data: bytes) -> None:
        """Take the next bytes."""
        self._rest += data

    def next_frame(self) -> bytes | None:
        """Take the next frame that is whole; behind a length that cannot be, all there is."""
        if len(self._rest) < HEADER_SIZE:
            return None
        length = int.from_bytes(self._rest[:4], "little")
        size = HEADER_SIZE + length if length <= MAX_BODY else len(self._rest)
        return self._take(size) if size <= len(self._rest) else None

    def take_rest(self) -> bytes:
        """Take all there is."""
        return self._take(len(self._rest))

    def _take(self, size: int) -> bytes:
        taken = bytes(self._rest[:size])
        del self._rest[:size]
        return taken

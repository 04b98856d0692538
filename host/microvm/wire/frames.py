"""A splitter of what a guest sends into frames, for the log; it checks nothing in them."""

from __future__ import annotations

from collections.abc import Iterator

from microvm.wire.codec import HEADER_SIZE, MAX_BODY


class Frames:
    """A stream of frames, however it is cut; it holds at most one that is not whole."""

    def __init__(self) -> None:
        self._rest = bytearray()

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield each frame that is whole now; behind a length that cannot be, all there is."""
        self._rest += data
        while len(self._rest) >= HEADER_SIZE:
            length = int.from_bytes(self._rest[:4], "little")
            size = HEADER_SIZE + length if length <= MAX_BODY else len(self._rest)
            if len(self._rest) < size:
                return
            frame = bytes(self._rest[:size])
            del self._rest[:size]
            yield frame

    def end(self) -> Iterator[bytes]:
        """Yield what is there of a frame that is not whole."""
        if self._rest:
            yield bytes(self._rest)
            self._rest.clear()

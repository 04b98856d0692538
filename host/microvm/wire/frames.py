"""Splits a received stream of bytes into frames for the log; does not check their content."""

from __future__ import annotations

from microvm.wire.codec import HEADER_SIZE, MAX_BODY


class Frames:
    """A buffer of bytes from a stream, from which complete frames can be taken."""

    def __init__(self) -> None:
        self._rest = bytearray()

    def receive_data(self, data: bytes) -> None:
        """Append received bytes to the buffer."""
        self._rest += data

    def next_frame(self) -> bytes | None:
        """Remove and return the next complete frame of the buffer; None if no frame is complete.

        If the length in the frame's header is invalid, remove and return all bytes.
        """
        if len(self._rest) < HEADER_SIZE:
            return None
        length = int.from_bytes(self._rest[:4], "little")
        size = HEADER_SIZE + length if length <= MAX_BODY else len(self._rest)
        return self._take(size) if size <= len(self._rest) else None

    def take_rest(self) -> bytes:
        """Remove all bytes from the buffer, such as an incomplete frame, and return them."""
        return self._take(len(self._rest))

    def _take(self, size: int) -> bytes:
        taken = bytes(self._rest[:size])
        del self._rest[:size]
        return taken

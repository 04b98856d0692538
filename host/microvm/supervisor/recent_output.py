"""The recent output of a detached command, which a supervisor keeps, and clients' views of it."""

from __future__ import annotations

import asyncio

RECENT = 1 << 20
"""Maximum number of bytes of each output stream of a detached command that are kept."""

_CHUNK = 1 << 16


class RecentOutput:
    """The last bytes of an output stream.

    The command never waits for a reader: if a new byte exceeds the limit, the oldest is dropped.

    :ivar end: Number of bytes that were added so far.
    """

    def __init__(self, limit: int = RECENT) -> None:
        """Create an empty buffer that keeps at most `limit` bytes."""
        self.end = 0
        self._limit = limit
        self._kept = bytearray()
        self._closed = False
        self._changed = asyncio.Event()

    @property
    def start(self) -> int:
        """Number of bytes that were dropped, which is the position of the first kept byte."""
        return self.end - len(self._kept)

    def feed(self, data: bytes | bytearray | memoryview) -> None:
        """Add output, and drop the oldest bytes that exceed the limit."""
        self.end += len(data)
        self._kept += data[-self._limit :]
        if len(self._kept) > self._limit:
            del self._kept[: len(self._kept) - self._limit]
        self._notify()

    def close(self) -> None:
        """Mark the end of the stream."""
        self._closed = True
        self._notify()

    def _notify(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    async def read(self, position: int) -> tuple[int, bytes]:
        """Wait for output at `position` or later. Return its position and some of its bytes.

        The returned position is later than `position` if bytes between were dropped. The bytes are
        empty at the end of the stream.
        """
        while position >= self.end and not self._closed:
            await self._changed.wait()
        first = max(position, self.start)
        begin = first - self.start
        return first, bytes(self._kept[begin : begin + _CHUNK])


class OutputView:
    """A client's view of recent output.

    :ivar dropped: Number of bytes that were dropped before this view could return them.
    """

    def __init__(self, output: RecentOutput, *, recent: bool = True, follow: bool = True) -> None:
        """Create a view that begins with the recent output, and ends with the stream.

        :param recent: False to begin with the next output instead.
        :param follow: False to end with the output so far.
        """
        self.dropped = self._position = output.start if recent else output.end
        self._output = output
        self._end = None if follow else output.end

    async def next_chunk(self) -> bytes:
        """Wait for the next bytes and return them; empty at the end of this view."""
        if self._end is not None and self._position >= self._end:
            return b""
        first, data = await self._output.read(self._position)
        self.dropped += first - self._position
        self._position = first + len(data)
        return data

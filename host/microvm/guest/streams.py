"""The standard input and the output streams of a command."""

from __future__ import annotations

import asyncio
import weakref
from collections import deque
from collections.abc import Callable
from typing import Self

from microvm.errors import MachineError
from microvm.wire.session import STDIN_CHUNK

# Smaller chunks are copied into the chunk before them. As views they would keep the whole buffer
# that was read from the port, so a guest could make the host hold gigabytes.
_SMALL = 1 << 14


class OutputBuffer:
    """A buffer of the output of one stream that its reader has not taken yet."""

    def __init__(self, consumed: Callable[[int], None]) -> None:
        """Create an empty buffer.

        :param consumed: Function that is called with each number of bytes that the reader has
            taken.
        """
        self._consumed = consumed
        self._chunks: deque[bytearray | bytes | memoryview] = deque()
        self._ended = False
        self._error: MachineError | None = None
        self._keep: int | None = None
        self._wake = asyncio.Event()

    def __len__(self) -> int:
        """Return the number of bytes in the buffer."""
        return sum(map(len, self._chunks))

    async def take(self) -> bytearray | bytes | memoryview:
        """Wait for the next chunk and return it; empty at the end of the stream.

        :raises MachineError: If the machine failed; the output before that has been taken.
        """
        while not self._chunks:
            if self._error:
                raise self._error
            if self._ended:
                return b""
            self._wake.clear()
            await self._wake.wait()
        chunk = self._chunks.popleft()
        if self._keep is None:
            self._consumed(len(chunk))
        return chunk

    def feed(self, data: bytes | memoryview, dropped: int = 0) -> None:
        """Add output from the guest.

        :param dropped: Number of further bytes that arrived and are discarded.
        """
        if dropped:
            self._consumed(dropped)
        if self._keep is not None:
            self._consumed(len(data))
            data = data[: self._keep]
            self._keep -= len(data)
        if not data:
            return
        last = self._chunks[-1] if self._chunks else None
        if len(data) >= _SMALL:
            self._chunks.append(data)
        elif isinstance(last, bytearray) and len(last) < _SMALL:
            last += data
        else:
            self._chunks.append(bytearray(data))
        self._wake.set()

    def release(self, keep: int) -> None:
        """Stop holding back the command; of its further output, keep only `keep` bytes."""
        if self._keep is None:
            self._consumed(len(self))
            self._keep = keep

    def end(self, error: MachineError | None = None) -> None:
        """Add the end of the stream, or the error that ended it early."""
        self._ended = True
        self._error = error
        self._wake.set()


class KeepAlive:
    """A token that is shared by a `Process` and its streams, to detect that all were dropped."""

    def __init__(self, dropped: Callable[[], None]) -> None:
        """Create a token.

        :param dropped: Function that is called in any thread when the last reference is dropped.
        """
        weakref.finalize(self, dropped).atexit = False
        self.owner: object = None
        """Object that must live as long as the token, such as the machine of the command."""


class OutputStream:
    """An output stream of a command.

    Iterate over it with `async for` to get chunks as they arrive, or call `read` or `readline`. The
    guest sends at most :data:`microvm.wire.session.WINDOW` bytes that were not read. Then the
    command waits, as it does when a pipe is full. If the machine fails, reading raises a
    `MachineError` after the output before that.
    """

    def __init__(self, buffer: OutputBuffer, keep_alive: KeepAlive) -> None:
        """Create a reader of a buffer."""
        self._buffer = buffer
        self._keep_alive = keep_alive
        self._part = bytearray()  # bytes that were taken from the buffer and not returned yet

    def __aiter__(self) -> Self:
        """Iterate over the chunks; no chunk is empty."""
        return self

    async def __anext__(self) -> bytes:
        """Return the next chunk."""
        if chunk := await self.next_chunk():
            return bytes(chunk)
        raise StopAsyncIteration

    async def next_chunk(self) -> bytearray | bytes | memoryview:
        """Return the next chunk without copying it; empty at the end of the stream."""
        return self._cut(len(self._part)) if self._part else await self._buffer.take()

    async def read(self, size: int = -1) -> bytes:
        """Return up to `size` bytes as soon as some are available; by default, all up to the end.

        :raises MachineError: If the machine failed before the end. `read(size)` returns earlier
            output.
        """
        if size >= 0:
            if size and not self._part:
                self._part += await self._buffer.take()
            return self._cut(size)
        chunks: list[bytearray | bytes | memoryview] = [self._cut(len(self._part))]
        try:
            while chunk := await self._buffer.take():
                chunks.append(chunk)
        except BaseException:  # such as a cancellation: keep the bytes for the next read
            self._part += b"".join(chunks)
            raise
        return b"".join(chunks)

    async def readline(self) -> bytes:
        r"""Return one line with its `\n`. The last line may lack it; after that, return b"".

        The length of a line is not limited. For an untrusted command, set `max_output`.
        """
        seen = 0
        while not (end := self._part.find(b"\n", seen) + 1):
            seen = len(self._part)
            try:
                chunk = await self._buffer.take()
            except MachineError:
                if not seen:  # otherwise return the bytes first; the next call raises the error
                    raise
                chunk = b""
            if not chunk:
                end = seen
                break
            self._part += chunk
        return self._cut(end)

    def _cut(self, size: int) -> bytes:
        piece = bytes(self._part[:size])
        del self._part[:size]
        return piece


class InputStream:
    """The standard input of a command, with the methods of `asyncio.StreamWriter`."""

    def __init__(
        self, send: Callable[[bytes | memoryview], None], credit: Callable[[], int]
    ) -> None:
        """Create a stream.

        :param send: Function that sends one frame of data; an empty one is the end of the stream.
        :param credit: Function that returns the number of bytes that may be sent now.
        """
        self._send = send
        self._credit = credit
        self._pending: deque[memoryview] = deque()
        self._closing = False
        self._sent_end = False
        self._refused = False
        self._drained = asyncio.Event()
        self._drained.set()

    def write(self, data: bytes | memoryview) -> None:
        """Queue data to be sent. Call `drain` after it, because the queue has no limit."""
        if data and not self._closing and not self._refused:
            view = memoryview(data)
            # The data may be sent later, so copy it if its owner can change it.
            self._pending.append(view if view.readonly else memoryview(bytes(view)))
            self._drained.clear()
            self._flush()

    async def drain(self) -> None:
        """Wait until all data has been sent to the guest.

        :raises BrokenPipeError: If the command closed its standard input or exited.
        """
        await self._drained.wait()
        if self._refused:
            raise BrokenPipeError("the command takes no more input")

    def close(self) -> None:
        """End the stream after the data that was written before."""
        self._closing = True
        self._flush()

    def is_closing(self) -> bool:
        """Tell whether the stream accepts no more data."""
        return self._closing or self._refused

    def _flush(self) -> None:
        """Send as much data as the credit allows."""
        while self._pending and (size := min(self._credit(), STDIN_CHUNK)):
            data = self._pending.popleft()
            self._send(data[:size])
            if len(data) > size:
                self._pending.appendleft(data[size:])
        if not self._pending:
            self._drained.set()
            if self._closing and not self._sent_end and not self._refused:
                self._sent_end = True
                self._send(b"")

    def _refuse(self) -> None:
        """Discard all data, because the command reads no more."""
        self._refused = True
        self._pending.clear()
        self._drained.set()

"""The streams of a command: what it writes and reads, as its user sees it."""

from __future__ import annotations

import asyncio
import weakref
from collections import deque
from collections.abc import Callable
from typing import Self

from microvm.errors import MachineError
from microvm.wire.session import STDIN_CHUNK

# A chunk below this is copied to the one before it: as a view it would keep alive all that was read
# from the port with it, and a guest could make a window of such views take gigabytes.
_SMALL = 1 << 14


class OutputBuffer:
    """A buffer of what a command has written to one stream, and its reader has not taken."""

    def __init__(self, consumed: Callable[[int], None]) -> None:
        """Prepare one; `consumed` is called with each number of bytes that the reader has taken."""
        self._consumed = consumed
        self._chunks: deque[bytearray | bytes | memoryview] = deque()
        self._ended = False
        self._error: MachineError | None = None
        self._keep: int | None = None
        self._wake = asyncio.Event()

    def __len__(self) -> int:
        """Return the number of bytes in it."""
        return sum(map(len, self._chunks))

    async def take(self) -> bytearray | bytes | memoryview:
        """Return the next chunk as soon as there is one; empty at the end.

        :raises MachineError: the machine died, and all that came before has been taken.
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
        """Add what the guest sent, of which `dropped` bytes more are not wanted."""
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
        """Hold the command back no more: take all that comes, and keep `keep` bytes of it."""
        if self._keep is None:
            self._consumed(len(self))
            self._keep = keep

    def end(self, error: MachineError | None = None) -> None:
        """Add the end, or what ended it early."""
        self._ended = True
        self._error = error
        self._wake.set()


class KeepAlive:
    """A token that whatever a user has of a command holds, so that its last end is noticed."""

    def __init__(self, dropped: Callable[[], None]) -> None:
        """Prepare one; `dropped` is called when nobody holds it any more, in whatever thread."""
        weakref.finalize(self, dropped).atexit = False
        self.owner: object = None
        """What must live as long: a command's machine."""


class OutputStream:
    """A stream that a command writes, as it comes.

    Iterate over it with `async for` to get chunks, `read` it, or take it by `readline`. The guest
    may be ahead of the reader by :data:`microvm.wire.session.WINDOW` bytes; then the command
    waits, as it does on a full pipe.
    """

    def __init__(self, buffer: OutputBuffer, keep_alive: KeepAlive) -> None:
        """Begin a reader of what the guest puts into `buffer`."""
        self._buffer = buffer
        self._keep_alive = keep_alive
        self._part = bytearray()  # what was taken and not read

    def __aiter__(self) -> Self:
        """Iterate over the chunks, each at least one byte."""
        return self

    async def __anext__(self) -> bytes:
        """Return the next chunk.

        :raises MachineError: the machine died, and all that came before has been read.
        """
        if chunk := await self.next_chunk():
            return bytes(chunk)
        raise StopAsyncIteration

    async def next_chunk(self) -> bytearray | bytes | memoryview:
        """Return the next chunk without a copy; empty at the end.

        :raises MachineError: the machine died, and all that came before has been read.
        """
        return self._cut(len(self._part)) if self._part else await self._buffer.take()

    async def read(self, size: int = -1) -> bytes:
        """Return up to `size` bytes as soon as there are any, by default all up to the end.

        :raises MachineError: the machine died before the end; `read(size)` gives what came before.
        """
        if size >= 0:
            if size and not self._part:
                self._part += await self._buffer.take()
            return self._cut(size)
        chunks: list[bytearray | bytes | memoryview] = [self._cut(len(self._part))]
        try:
            while chunk := await self._buffer.take():
                chunks.append(chunk)
        except BaseException:  # a time-out of the caller's, perhaps: the next read has it all
            self._part += b"".join(chunks)
            raise
        return b"".join(chunks)

    async def readline(self) -> bytes:
        r"""Return one line with its `\n`; what is left at the end without one; then nothing.

        A line has no bound of its own: `max_output` gives one to a command that is not trusted.

        :raises MachineError: the machine died, and all that came before has been read.
        """
        seen = 0
        while not (end := self._part.find(b"\n", seen) + 1):
            seen = len(self._part)
            try:
                chunk = await self._buffer.take()
            except MachineError:
                if not seen:  # else the next one raises it
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
    """A stream that a command reads; used as `asyncio.StreamWriter` is."""

    def __init__(
        self, send: Callable[[bytes | memoryview], None], credit: Callable[[], int]
    ) -> None:
        """Send frames of data by `send`, as far as `credit` allows; an empty one is the end."""
        self._send = send
        self._credit = credit
        self._pending: deque[memoryview] = deque()
        self._closing = False
        self._sent_end = False
        self._refused = False
        self._drained = asyncio.Event()
        self._drained.set()

    def write(self, data: bytes | memoryview) -> None:
        """Queue bytes; call `drain` after it, or the queue has no bound."""
        if data and not self._closing and not self._refused:
            view = memoryview(data)
            # They are sent as they are, perhaps later; so what can change is copied.
            self._pending.append(view if view.readonly else memoryview(bytes(view)))
            self._drained.clear()
            self._flush()

    async def drain(self) -> None:
        """Wait until everything is on its way to the guest.

        :raises BrokenPipeError: the command has closed its standard input, or has ended.
        """
        await self._drained.wait()
        if self._refused:
            raise BrokenPipeError("the command takes no more input")

    def close(self) -> None:
        """Mark the end; what was written before still goes out."""
        self._closing = True
        self._flush()

    def is_closing(self) -> bool:
        """Tell whether no more can be written."""
        return self._closing or self._refused

    def _flush(self) -> None:
        """Send what there is credit for."""
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
        """Drop everything: nobody reads it any more."""
        self._refused = True
        self._pending.clear()
        self._drained.set()

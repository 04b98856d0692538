"""The standard input and the output streams of a command."""

from __future__ import annotations

import asyncio
import weakref
from collections import deque
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Self

from microvm.errors import IncompleteRead, MachineError, ReadLimit, ReadTimeout, UsageError
from microvm.no_constructor import NoConstructor
from microvm.units import (
    Duration,
    Size,
    exact_size,
    format_duration,
    parse_count,
    parse_duration,
    parse_size,
)
from microvm.wire.command_conversation import STDIN_CHUNK
from microvm.wire.session import WINDOW

# Chunks of output with fewer bytes are copied, and appended to a small chunk before them. Without
# the copy, a chunk is a view into the large buffer that was read from the port, and keeps all of
# this buffer in memory. So a guest that sends tiny chunks could make the host hold gigabytes.
_SMALL = 1 << 14

_SHOWN = 60  # maximum number of bytes of unread output in an error


class OutputBuffer:
    """A buffer that holds the output of a command's stream until the reader takes it."""

    def __init__(self, consumed: Callable[[int], None]) -> None:
        """Create an empty buffer. It calls `consumed` with the size of each chunk that is taken."""
        self._consumed = consumed
        self._chunks: deque[bytearray | bytes | memoryview] = deque()
        self._ended = False
        self._error: MachineError | None = None
        self._keep: int | None = None
        self._wake = asyncio.Event()

    def __len__(self) -> int:
        """Return the number of bytes in the buffer."""
        return sum(map(len, self._chunks))

    @property
    def at_eof(self) -> bool:
        """True if the stream has ended without an error, and all of its output was taken."""
        return self._ended and self._error is None and not self._chunks

    async def take(self) -> bytearray | bytes | memoryview:
        """Wait for the next chunk of output and return it; it is empty at the end of the stream.

        :raises MachineError: If the machine failed, and the output that arrived before has been
            taken.
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
        """Add the output `data`. `dropped` more bytes arrived with it, but were discarded.

        The discarded bytes count as consumed, so the guest may send as many again.
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
        """Accept all further output without a reader; store only `keep` more bytes of it."""
        if self._keep is None:
            self._consumed(len(self))
            self._keep = keep

    def end(self, error: MachineError | None = None) -> None:
        """Mark the end of the stream. With `error`, the reader gets that error after the output."""
        self._ended = True
        self._error = error
        self._wake.set()


class KeepAlive:
    """A token that a `Process` and its streams share, to detect when nobody refers to them."""

    def __init__(self, dropped: Callable[[], None]) -> None:
        """Create a token that calls `dropped` when nobody refers to the token any more.

        :param dropped: Function that is called in any thread when the last reference to the token
            is dropped.
        """
        weakref.finalize(self, dropped).atexit = False
        self.owner: object = None
        """Object that must live as long as the token, such as the machine that runs the command."""


class OutputStream(NoConstructor):
    """Standard output or standard error of a command, with methods of `asyncio.StreamReader`.

    Iterate over it with `async for` to get chunks as they arrive, or call one of its methods. If
    :data:`microvm.wire.session.WINDOW` bytes were not read, the command waits, as it does when a
    pipe is full. If the machine fails, reading returns the output that arrived before, and then
    raises a `MachineError`.

    No output is lost if a read is cancelled, times out, or exceeds its limit: the next read returns
    it. If several tasks read, their reads are executed one after another.
    """

    def _init(self, name: str, buffer: OutputBuffer, keep_alive: KeepAlive) -> Self:
        """Set the attributes, and return self.

        :param name: Name of the stream in errors.
        :param keep_alive: Token of the command, which this object keeps alive.
        """
        self._name = name
        self._buffer = buffer
        self._keep_alive = keep_alive
        # bytes that were taken from the buffer, but not returned to the caller yet
        self._part = bytearray()
        # A read that needs several chunks holds the lock, so no other read takes bytes in between.
        self._lock = asyncio.Lock()
        return self

    def __aiter__(self) -> Self:
        """Return an iterator over the chunks of output; no chunk is empty."""
        return self

    async def __anext__(self) -> bytes:
        """Return the next chunk of output."""
        if chunk := await self.next_chunk():
            return bytes(chunk)
        raise StopAsyncIteration

    async def next_chunk(self) -> bytearray | bytes | memoryview:
        """Return the next chunk without copying it; the chunk is empty at the end of the stream."""
        async with self._lock:
            return self._cut(len(self._part)) if self._part else await self._buffer.take()

    async def read(self, size: int = -1, *, timeout: Duration | None = None) -> bytes:
        """Return up to `size` bytes as soon as some are available; by default, all up to the end.

        :param timeout: Maximum time, in seconds or as text such as `2s`; None for no limit.
        :raises ReadTimeout: If the output does not arrive in time.
        :raises MachineError: If the machine failed before the end of the stream. `read(size)` first
            returns the output that arrived before.
        """
        if size < 0:
            return await self._limited(timeout, "the end of the output", self._read_all)
        return await self._limited(timeout, "output", partial(self._read_available, size))

    async def readline(self, *, limit: Size = WINDOW, timeout: Duration | None = None) -> bytes:
        r"""Return the next line with its `\n`, which the last line may lack; b"" at the end.

        :param limit: Maximum size of the line with its `\n`, in bytes or as text such as `64K`.
        :param timeout: Maximum time, in seconds or as text such as `2s`; None for no limit.
        :raises ReadLimit: If the line is longer than `limit`.
        :raises ReadTimeout: If the line does not arrive in time.
        :raises MachineError: If the machine failed and the output that arrived before was read.
        """
        try:
            return await self.readuntil(b"\n", limit=limit, timeout=timeout)
        except IncompleteRead as error:
            return error.partial
        except MachineError:
            # if bytes were read before the error, return them; the next call raises the error
            if not self._part:
                raise
            return self._cut(len(self._part))

    async def readuntil(
        self,
        separator: bytes | tuple[bytes, ...] = b"\n",
        *,
        limit: Size = WINDOW,
        timeout: Duration | None = None,
    ) -> bytes:
        """Return the output up to the next separator, including the separator.

        :param separator: Bytes to wait for, such as a prompt. If it is a tuple of separators, the
            result ends with the one that is complete first.
        :param limit: Maximum size of the result, in bytes or as text such as `64K`.
        :param timeout: Maximum time, in seconds or as text such as `2s`; None for no limit.
        :raises ReadLimit: If the result is longer than `limit`.
        :raises ReadTimeout: If the separator does not arrive in time.
        :raises IncompleteRead: If the output ends without the separator. `partial` contains it.
        :raises MachineError: If the machine failed. `read(size)` returns the output that arrived
            before the failure.
        """
        separators = separator if isinstance(separator, tuple) else (separator,)
        if not separators or not all(separators):
            raise UsageError("separator: must not be empty")
        size = parse_size(limit)
        # Programs that read many short lines are faster if the buffer is searched without a timer.
        if not self._lock.locked() and (end := self._find(separators, 0, size)):
            return self._cut(end)
        read = partial(self._read_until, separators, size)
        return await self._limited(timeout, _either(separators), read)

    async def readexactly(self, size: int, *, timeout: Duration | None = None) -> bytes:
        """Return exactly `size` bytes.

        :param timeout: Maximum time, in seconds or as text such as `2s`; None for no limit.
        :raises ReadTimeout: If the bytes do not arrive in time.
        :raises IncompleteRead: If the output has fewer bytes. `partial` contains these bytes.
        :raises MachineError: If the machine failed. `read(size)` returns the output that arrived
            before the failure.
        """
        wanted = f"{parse_count(size, least=0)} bytes"
        return await self._limited(timeout, wanted, partial(self._read_exactly, size))

    def at_eof(self) -> bool:
        """Return True if the stream has ended and all of its output was read."""
        return not self._part and self._buffer.at_eof

    async def _limited(
        self, timeout: Duration | None, wanted: str, read: Callable[[], Awaitable[bytes]]
    ) -> bytes:
        """Wait until no other task reads, and call `read`. Both must not exceed the `timeout`.

        :param wanted: Name of the requested output in the error.
        """
        seconds = None if timeout is None else parse_duration(timeout)
        try:
            async with asyncio.timeout(seconds), self._lock:
                return await read()
        except TimeoutError:
            error = ReadTimeout(
                f"{self._name}: timed out after {format_duration(seconds or 0)} while waiting for "
                f"{wanted}; {_last_bytes(self._part)}",
                hint="no output is lost: read again, with a longer timeout",
            )
            error.timeout = seconds or 0
            raise error from None

    async def _read_available(self, size: int) -> bytes:
        if size and not self._part:
            self._part += await self._buffer.take()
        return self._cut(size)

    async def _read_all(self) -> bytes:
        chunks: list[bytearray | bytes | memoryview] = [self._cut(len(self._part))]
        try:
            while chunk := await self._buffer.take():
                chunks.append(chunk)
        # After an error such as a cancellation, keep the bytes for the next read.
        except BaseException:
            self._part += b"".join(chunks)
            raise
        return b"".join(chunks)

    async def _read_until(self, separators: tuple[bytes, ...], limit: int) -> bytes:
        start = 0
        while not (end := self._find(separators, start, limit)):
            if len(self._part) >= limit:
                error = ReadLimit(
                    f"{self._name}: {_either(separators)} is not in the next {exact_size(limit)}",
                    hint="no output is lost: call `read`, or set a higher limit",
                )
                error.limit = limit
                raise error
            # The first bytes of a separator may already have arrived.
            start = max(0, len(self._part) - max(map(len, separators)) + 1)
            await self._take(_either(separators))
        return self._cut(end)

    def _find(self, separators: tuple[bytes, ...], start: int, limit: int) -> int:
        """Return the position after the separator that is complete first; 0 if there is none.

        Only the bytes from the position `start` to the position `limit` are searched.
        """
        part = self._part
        return min(
            [at + len(s) for s in separators if (at := part.find(s, start, limit)) >= 0], default=0
        )

    async def _read_exactly(self, size: int) -> bytes:
        while len(self._part) < size:
            await self._take(f"{size} bytes", size)
        return self._cut(size)

    async def _take(self, wanted: str, expected: int | None = None) -> None:
        """Append the next chunk of output to `_part`; raise IncompleteRead at the end."""
        if chunk := await self._buffer.take():
            self._part += chunk
            return
        error = IncompleteRead(
            f"{self._name}: the output ended before {wanted}; {_last_bytes(self._part)}",
            hint="the command has exited or closed the stream; `partial` has the unread output",
        )
        error.partial, error.expected = self._cut(len(self._part)), expected
        raise error

    def _cut(self, size: int) -> bytes:
        piece = bytes(self._part[:size])
        del self._part[:size]
        return piece


def _either(separators: tuple[bytes, ...]) -> str:
    return " or ".join(map(repr, separators))


def _last_bytes(output: bytearray) -> str:
    """Describe unread output in an error, by its last bytes."""
    if not output:
        return "no other output arrived"
    return f"the unread output ends with {bytes(output[-_SHOWN:])!r}"


class InputStream(NoConstructor):
    """The standard input of a command, with the methods of `asyncio.StreamWriter`."""

    def _init(self, send: Callable[[bytes | memoryview], None], credit: Callable[[], int]) -> Self:
        """Set the attributes, and return self.

        :param send: Function that sends one message with data; empty data is the end of the stream.
        :param credit: Function that returns the number of bytes that can be sent now.
        """
        self._send = send
        self._credit = credit
        self._pending: deque[memoryview] = deque()
        self._closing = False
        self._sent_end = False
        self._refused = False
        self._drained = asyncio.Event()
        self._drained.set()
        return self

    def write(self, data: bytes | memoryview) -> None:
        """Add data to the queue of input. Call `drain` after it, because the queue has no limit."""
        if data and not self._closing and not self._refused:
            view = memoryview(data)
            # The data may be sent later, so copy it if the caller can change it.
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
        """End the stream after all data that was written before."""
        self._closing = True
        self._flush()

    def is_closing(self) -> bool:
        """Return True if the stream was closed, and so accepts no more data."""
        return self._closing or self._refused

    def _flush(self) -> None:
        """Send as much of the queued data as the guest allows."""
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
        """Discard all queued input, because the command has exited or closed its standard input."""
        self._refused = True
        self._pending.clear()
        self._drained.set()

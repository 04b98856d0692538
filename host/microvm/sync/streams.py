"""The streams of a command, without `async`."""

from __future__ import annotations

from collections.abc import Iterator

from microvm.concurrency.loop import BackgroundLoop
from microvm.guest import streams
from microvm.sync.bound import LoopBound


class OutputStream(LoopBound):
    """See :class:`microvm.OutputStream`; iterate over it to get chunks of bytes."""

    def __init__(self, loop: BackgroundLoop, stream: streams.OutputStream) -> None:
        super().__init__(loop)
        self._stream = stream

    def __iter__(self) -> Iterator[bytes]:
        """Yield chunks as they come, each at least one byte."""
        while chunk := self._do(self._next()):
            yield chunk

    async def _next(self) -> bytes:
        return await anext(self._stream, b"")

    def read(self, size: int = -1) -> bytes:
        """Return up to `size` bytes as soon as there are any, by default all up to the end."""
        return self._do(self._stream.read(size))

    def readline(self) -> bytes:
        """Return one line; see `microvm.OutputStream.readline`."""
        return self._do(self._stream.readline())


class InputStream(LoopBound):
    """See :class:`microvm.InputStream`."""

    def __init__(self, loop: BackgroundLoop, stream: streams.InputStream) -> None:
        super().__init__(loop)
        self._stream = stream

    def write(self, data: bytes) -> None:
        """Feed bytes to the command, and wait until they are on their way.

        :raises BrokenPipeError: the command has closed its standard input, or has ended.
        """
        self._do(self._write(data))

    async def _write(self, data: bytes) -> None:
        self._stream.write(data)
        await self._stream.drain()

    def close(self) -> None:
        """Mark the end of the input."""
        self._call(self._stream.close)

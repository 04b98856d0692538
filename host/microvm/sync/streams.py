"""The input and output streams of a command, for programs without `async`."""

from __future__ import annotations

from collections.abc import Iterator

from microvm.concurrency.loop import BackgroundLoop
from microvm.guest import streams
from microvm.sync.bound import LoopBound


class OutputStream(LoopBound):
    """Standard output or standard error of a command; see `microvm.OutputStream`."""

    def __init__(self, loop: BackgroundLoop, stream: streams.OutputStream) -> None:
        super().__init__(loop)
        self._stream = stream

    def __iter__(self) -> Iterator[bytes]:
        """Yield chunks of the output, of at least one byte, as they arrive."""
        while chunk := self._do(self._next()):
            yield chunk

    async def _next(self) -> bytes:
        return await anext(self._stream, b"")

    def read(self, size: int = -1) -> bytes:
        """Wait for output, and return up to `size` bytes; by default, all output up to its end."""
        return self._do(self._stream.read(size))

    def next_chunk(self) -> bytearray | bytes | memoryview:
        """Return the next chunk of output without copying it; empty at the end of the stream."""
        return self._do(self._stream.next_chunk())

    def readline(self) -> bytes:
        """Return the next line of output; see `microvm.OutputStream.readline`."""
        return self._do(self._stream.readline())


class InputStream(LoopBound):
    """The standard input of a command; see `microvm.InputStream`."""

    def __init__(self, loop: BackgroundLoop, stream: streams.InputStream) -> None:
        super().__init__(loop)
        self._stream = stream

    def write(self, data: bytes) -> None:
        """Write bytes to the command's input, and wait while too many bytes are still unsent.

        :raises BrokenPipeError: If the command has closed its standard input or has exited.
        """
        self._do(self._write(data))

    async def _write(self, data: bytes) -> None:
        self._stream.write(data)
        await self._stream.drain()

    def is_closing(self) -> bool:
        """Return True if no more input can be written, because the input was or is being closed."""
        return self._stream.is_closing()

    def close(self) -> None:
        """Close the standard input of the command."""
        self._call(self._stream.close)

"""Pipes to the streams of a command that a supervisor runs."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable
from io import FileIO

from microvm.guest.streams import InputStream
from microvm.wire.command_conversation import STDIN_CHUNK
from microvm.wire.session import WINDOW

_CHUNK = 1 << 16


class OutputPipe:
    """The read end of the pipe through which a client receives the output of its command.

    At most `WINDOW` bytes are read ahead of the bytes that the user has taken. `lift_limit` lifts
    this limit.
    """

    def __init__(self, file: FileIO, on_end: Callable[[], None]) -> None:
        """Use the read end of a pipe, which `close` closes; call `on_end` at the end of file."""
        os.set_blocking(file.fileno(), False)
        self.ended = False
        self._file = file
        self._on_end = on_end
        self._loop = asyncio.get_running_loop()
        self._feed: Callable[[bytes], object] = bool
        self._unconsumed = 0  # number of bytes that were read, and not yet taken by the user
        self._limit = WINDOW

    def begin(self, feed: Callable[[bytes], object]) -> None:
        """Start to read the command's output, and call `feed` with each piece of it."""
        self._feed = feed
        self._loop.add_reader(self._file, self._read)

    def consumed(self, amount: int) -> None:
        """Count `amount` bytes as taken by the user. If the buffer was full, resume reading."""
        was_full = self._unconsumed >= self._limit
        self._unconsumed -= amount
        if was_full and self._unconsumed < self._limit and not self.ended:
            self._loop.add_reader(self._file, self._read)

    def lift_limit(self) -> None:
        """Read all further output, even if the user takes nothing. Resume reading if necessary."""
        self._limit = sys.maxsize
        if not self.ended:
            self._loop.add_reader(self._file, self._read)

    def close(self) -> None:
        """Close the pipe; idempotent."""
        if not self._file.closed:
            self._loop.remove_reader(self._file)
            self._file.close()
        self.ended = True

    def _read(self) -> None:
        data = self._file.read(_CHUNK)
        if data is None:  # the event loop reported data, but the pipe is empty
            return
        if not data:
            self.close()
            self._on_end()
            return
        self._unconsumed += len(data)
        if self._unconsumed >= self._limit:
            self._loop.remove_reader(self._file)
        self._feed(data)


class InputPipe:
    """The write end of the pipe through which a client sends input to its command.

    :ivar on_end: function that is called when the user ends the input.
    """

    def __init__(self, file: FileIO) -> None:
        """Use the write end of a pipe, which `close` closes."""
        os.set_blocking(file.fileno(), False)
        self.on_end: Callable[[], object] = bool
        self.stream = InputStream._new()._init(self._send, self._room)
        self._file = file
        self._loop = asyncio.get_running_loop()
        self._pending = bytearray()
        self._ending = False

    def close(self) -> None:
        """Close the pipe, and discard the data that was not written; idempotent."""
        self.stream._refuse()
        self._close()

    def _close(self) -> None:
        if not self._file.closed:
            self._loop.remove_writer(self._file)
            self._file.close()

    def _room(self) -> int:
        return max(0, STDIN_CHUNK - len(self._pending))

    def _send(self, data: bytes | memoryview) -> None:
        if not data:
            self._ending = True
            self.on_end()
        self._pending += data
        self._write()

    def _write(self) -> None:
        if self._file.closed:
            return
        try:
            del self._pending[: self._file.write(self._pending) or 0]
        except OSError:
            self.close()  # the command has closed its input
            return
        if self._pending:
            self._loop.add_writer(self._file, self._on_writable)
        elif self._ending:
            self._close()

    def _on_writable(self) -> None:
        self._write()
        if not self._pending and not self._file.closed:
            self._loop.remove_writer(self._file)
            self.stream._flush()

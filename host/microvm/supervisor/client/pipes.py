"""The pipes to the streams of a command that another process runs."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from io import FileIO

from microvm.guest.streams import InputStream
from microvm.wire.session import STDIN_CHUNK, WINDOW

_PIECE = 1 << 16


class OutputPipe:
    """The end of a pipe from which a command's output comes, as far as it is read.

    :ivar ended: whether all of it has come.
    """

    def __init__(self, file: FileIO, on_end: Callable[[], None]) -> None:
        """Take over the end of a pipe; `on_end` is called once, behind the last of the output."""
        os.set_blocking(file.fileno(), False)
        self.ended = False
        self._file = file
        self._on_end = on_end
        self._loop = asyncio.get_running_loop()
        self._feed: Callable[[bytes], object] = bool
        self._ahead = 0  # bytes that have come and were not taken

    def begin(self, feed: Callable[[bytes], object]) -> None:
        """Have `feed` called with what comes; what of that was taken is said by `consumed`."""
        self._feed = feed
        self._loop.add_reader(self._file, self._read)

    def consumed(self, amount: int) -> None:
        """Note that so many bytes have been taken."""
        was_full = self._ahead >= WINDOW
        self._ahead -= amount
        if was_full and self._ahead < WINDOW and not self.ended:
            self._loop.add_reader(self._file, self._read)

    def close(self) -> None:
        """Let go of the pipe; idempotent."""
        if not self._file.closed:
            self._loop.remove_reader(self._file)
            self._file.close()
        self.ended = True

    def _read(self) -> None:
        data = self._file.read(_PIECE)
        if data is None:  # nothing is there, after all
            return
        if not data:
            self.close()
            self._on_end()
            return
        self._ahead += len(data)
        if self._ahead >= WINDOW:
            self._loop.remove_reader(self._file)
        self._feed(data)


class InputPipe:
    """The end of a pipe into which a command's input goes.

    :ivar stream: the input, for whoever writes it.
    """

    def __init__(self, file: FileIO) -> None:
        """Take over the end of a pipe."""
        os.set_blocking(file.fileno(), False)
        self.stream = InputStream(self._send, self._room)
        self._file = file
        self._loop = asyncio.get_running_loop()
        self._pending = bytearray()
        self._ending = False

    def close(self) -> None:
        """Let go of the pipe, and of what has not gone into it; idempotent."""
        self.stream._refuse()
        self._close()

    def _close(self) -> None:
        if not self._file.closed:
            self._loop.remove_writer(self._file)
            self._file.close()

    def _room(self) -> int:
        return max(0, STDIN_CHUNK - len(self._pending))

    def _send(self, data: bytes | memoryview) -> None:
        self._ending = self._ending or not data
        self._pending += data
        self._write()

    def _write(self) -> None:
        if self._file.closed:
            return
        try:
            del self._pending[: self._file.write(self._pending) or 0]
        except OSError:
            self.close()  # its reader has gone
            return
        if self._pending:
            self._loop.add_writer(self._file, self._go_on)
        elif self._ending:
            self._close()

    def _go_on(self) -> None:
        self._write()
        if not self._pending and not self._file.closed:
            self._loop.remove_writer(self._file)
            self.stream._flush()

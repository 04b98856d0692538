"""The guest's serial console: bounded, live, and never trusted."""

from __future__ import annotations

import asyncio
import os
import re
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Self

from microvm.errors import UsageError
from microvm.log import Area
from microvm.qemu.logged_lines import LoggedLines, sanitised

_logger = Area("qemu")

#: How much of the console's end is kept in memory, in bytes.
TAIL_SIZE = 64 << 10

#: How much of it the log takes, in bytes; what follows is cut.
LOG_LIMIT = 16 << 20

_CUT_NOTICE = b"\n[microvm: the console's log is cut here]\n"
_READ_SIZE = 64 << 10

# The line of a kernel has no tabs, and is no longer than that of a terminal.
_PANIC = re.compile(r"Kernel panic - not syncing: [^\t\n]{0,160}")


class Console:
    r"""The console of a guest: what it writes to its serial port.

    The end of it is kept in memory. A log gets all of it as it comes, up to `LOG_LIMIT` bytes; one
    that fails (a full disk) is given up, which harms nothing else.

    :param log: a file that gets all of the console; it is emptied first.
    :raises UsageError: if the log cannot be opened.
    :ivar log_error: why the log was given up, if it was.
    :ivar listener: is called with what comes, from when it is set on.
    """

    def __init__(self, log: Path | None = None) -> None:
        self.log_error: OSError | None = None
        self.listener: Callable[[bytes], object] = bool
        self._tail = bytearray()
        self._lines = LoggedLines(_logger, "console", "the console")
        self._log_left = LOG_LIMIT
        self._log = None if log is None else _open(log)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the log; what is kept in memory can still be read."""
        log, self._log = self._log, None
        if log is not None:
            os.close(log)

    async def follow(self, source: socket.socket) -> None:
        """Read the console until its end, then close it.

        :param source: a connected stream socket, which is ours from now on.
        """
        try:
            reader, writer = await asyncio.open_connection(sock=source)
        except BaseException:
            source.close()
            raise
        try:
            while data := await reader.read(_READ_SIZE):
                self.feed(data)
        except ConnectionError:  # how a stream socket ends when its peer dies with unread data
            pass
        finally:
            self._lines.close()
            writer.close()

    def feed(self, data: bytes) -> None:
        """Take the next bytes, cut anywhere."""
        self._lines.feed(data)
        self.listener(data)
        self._tail += data
        if len(self._tail) > 2 * TAIL_SIZE:
            del self._tail[:-TAIL_SIZE]
        if self._log is not None:
            try:
                self._write(self._log, data)
            except OSError as error:
                self.log_error = error
                self.close()

    def _write(self, log: int, data: bytes) -> None:
        left, self._log_left = self._log_left, self._log_left - len(data)
        _write_all(log, data[:left])
        if self._log_left < 0:
            _write_all(log, _CUT_NOTICE)
            self.close()

    def end(self) -> bytes:
        """Return the end of it, as the guest wrote it."""
        return bytes(self._tail[-TAIL_SIZE:])

    def tail(self, lines: int = 20) -> str:
        """Return the last lines, as text that is safe to print."""
        return "\n".join(self._text().rstrip().split("\n")[-lines:])

    def panic(self) -> str | None:
        """Return the line of a crashed kernel, from `Kernel panic - not syncing: ` on, or None."""
        match = _PANIC.search(self._text())
        return None if match is None else match[0].rstrip()

    def _text(self) -> str:
        return sanitised(self.end())


def _open(path: Path) -> int:
    # Not blocking: a FIFO that nobody reads must hold up neither the opening nor the machine.
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        return os.open(path, flags, 0o666)
    except OSError as error:
        raise UsageError(f"cannot write the console to {path}: {error.strerror}") from error


def _write_all(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]

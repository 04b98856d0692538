"""The guest's serial console: its last output is kept in memory, and all output can be logged."""

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

#: Maximum number of bytes of the console's last output that are kept in memory.
TAIL_SIZE = 64 << 10

#: Maximum size of the console's log in bytes. The output after that is not logged.
LOG_LIMIT = 16 << 20

_CUT_NOTICE = b"\n[microvm: the console's log is cut here]\n"
_READ_SIZE = 64 << 10

# The line of a kernel panic, up to a tab. Error messages quote it, so its length is limited in case
# a hostile guest prints such a line.
_PANIC = re.compile(r"Kernel panic - not syncing: [^\t\n]{0,160}")


class Console:
    r"""The console of a guest, which receives the output of its serial port.

    Memory holds the last `TAIL_SIZE` bytes. The log gets all output as it arrives, up to
    `LOG_LIMIT` bytes. If a write to the log fails, for example because the disk is full, only the
    log is closed.

    :param log: Path of the log, which is emptied first; None for no log.
    :ivar log_error: Error because of which the log was closed; None if there was none.
    :ivar listener: Function that is called with all further output, as bytes.
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
        """Close the console's log. The output that is kept in memory can still be read."""
        log, self._log = self._log, None
        if log is not None:
            os.close(log)

    async def follow(self, source: socket.socket) -> None:
        """Read the console's output from a connected socket until its end, and close the socket."""
        try:
            reader, writer = await asyncio.open_connection(sock=source)
        except BaseException:
            source.close()
            raise
        try:
            while data := await reader.read(_READ_SIZE):
                self.feed(data)
        except ConnectionError:  # raised if QEMU exits before it has read all input
            pass
        finally:
            self._lines.close()
            writer.close()

    def feed(self, data: bytes) -> None:
        """Store and log the guest's next bytes of output, which may end within a line.

        Then pass them on to `listener`.
        """
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
        """Return the last bytes of the console's output, at most `TAIL_SIZE`, as they arrived."""
        return bytes(self._tail[-TAIL_SIZE:])

    def tail(self, lines: int = 20) -> str:
        """Return the last lines of the guest's console output, as text that is safe to print."""
        return "\n".join(self._text().rstrip().split("\n")[-lines:])

    def panic(self) -> str | None:
        """Return the message of the guest's kernel panic; None if its console shows no panic."""
        match = _PANIC.search(self._text())
        return None if match is None else match[0].rstrip()

    def _text(self) -> str:
        return sanitised(self.end())


def _open(path: Path) -> int:
    # If the log is a FIFO that nobody reads, open(2) without O_NONBLOCK would block this process.
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        return os.open(path, flags, 0o666)
    except OSError as error:
        raise UsageError(f"cannot write the console to {path}: {error.strerror}") from error


def _write_all(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]

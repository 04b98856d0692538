"""The files that a supervisor writes: the console of its guest, and a log of its standard error.

Their size is limited, because they may be in a file system in memory.
"""

from __future__ import annotations

import io
import os
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

from microvm.supervisor.machine_directory import CONSOLE, MachineDirectory

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

LIMIT = 1 << 20
"""Maximum number of bytes in the log, and in each of the two files of the console."""


class _Bounded(io.FileIO):
    """A log file that discards further data when it is full or the disk is full."""

    _left = LIMIT

    def write(self, data: ReadableBuffer, /) -> int:
        """Write data, or discard it if the file would become too large. Return the data's size."""
        size = memoryview(data).nbytes
        if size <= self._left:
            self._left -= size
            try:
                return super().write(data)
            except OSError:  # the disk is full, so discard this and all later data
                self._left = 0
        return size


def open_log() -> None:
    """Limit what `sys.stderr` writes to the supervisor's log file to `LIMIT` bytes."""
    buffered = io.BufferedWriter(_Bounded(2, "w", closefd=False))
    sys.stderr = io.TextIOWrapper(buffered, "utf-8", "backslashreplace", line_buffering=True)


class ConsoleLog:
    """The console output of a guest, in two files. When the newer is full, it replaces the older.

    So the newest output is always kept. The files are in the machine's folder.
    """

    def __init__(self, directory: MachineDirectory) -> None:
        self._directory = directory
        self._file = -1
        self._left = 0

    def write(self, data: bytes) -> None:
        """Append console output to the newer of two files. Discard it if the disk is full."""
        with suppress(OSError):
            if len(data) > self._left:
                self._rotate()
            self._left -= len(data)
            while data:
                data = data[os.write(self._file, data) :]

    def _rotate(self) -> None:
        older, newer = CONSOLE
        folder = self._directory.descriptor
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
            os.rename(newer, older, src_dir_fd=folder, dst_dir_fd=folder)
        self._file = self._directory.file(newer, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        self._left = LIMIT

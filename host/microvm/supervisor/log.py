"""The files that a supervisor writes: its guest's console, and its log, its standard error.

Both are bounded, since they may lie in memory that others need.
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
"""The most bytes that a log has, and each half of a console."""


class _Bounded(io.FileIO):
    """A file that takes so many bytes, and drops what comes after them, or finds no room."""

    _left = LIMIT

    def write(self, data: ReadableBuffer, /) -> int:
        """Write what has room."""
        size = memoryview(data).nbytes
        if size <= self._left:
            self._left -= size
            try:
                return super().write(data)
            except OSError:  # the disk is full
                self._left = 0
        return size


def open_log() -> None:
    """Have standard error, which is the log's file, take no more than the limit."""
    buffered = io.BufferedWriter(_Bounded(2, "w", closefd=False))
    sys.stderr = io.TextIOWrapper(buffered, "utf-8", "backslashreplace", line_buffering=True)


class ConsoleLog:
    """A guest's console in two files of its machine's: the end of it, which is never cut."""

    def __init__(self, directory: MachineDirectory) -> None:
        """Begin with nothing."""
        self._directory = directory
        self._file = -1
        self._left = 0

    def write(self, data: bytes) -> None:
        """Write what the guest does; a full disk has no room for it."""
        with suppress(OSError):
            if len(data) > self._left:
                self._begin()
            self._left -= len(data)
            while data:
                data = data[os.write(self._file, data) :]

    def _begin(self) -> None:
        older, newer = CONSOLE
        here = self._directory.descriptor
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
            os.rename(newer, older, src_dir_fd=here, dst_dir_fd=here)
        self._file = self._directory.file(newer, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        self._left = LIMIT

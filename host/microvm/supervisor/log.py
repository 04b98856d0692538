"""The log of a supervisor: what it would say on its standard error, and no more than has room."""

from __future__ import annotations

import io
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

LIMIT = 1 << 20
"""The most bytes that a log has: it may lie in memory, which others need."""


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

"""Measures the speed of a download, so that a download that is too slow can be cancelled.

A time-out between two bytes does not help against a server that sends one byte a second. So this
module counts the bytes that arrive in each minute, as curl's --speed-limit and --speed-time do.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path

LEAST = 1024
"""Minimum speed of a download in bytes per second, on average over a window of `WINDOW`."""
WINDOW = 60.0
"""Length of the window of time over which the speed is measured, in seconds."""


class DownloadSpeed:
    """A meter of the speed of one download."""

    def __init__(self) -> None:
        """Start to count the bytes that arrive in each window of `WINDOW` seconds."""
        self._begun = time.monotonic()
        self._before = 0

    def is_too_slow(self, size: int) -> bool:
        """Return True if `size`, the bytes received so far, grew too little in the last window.

        A window is a period of `WINDOW` seconds. Return False before the end of a window.

        :param size: Number of bytes that have arrived so far. A smaller number than before counts
            as progress, too, because received files may have been moved elsewhere.
        """
        now = time.monotonic()
        if now - self._begun < WINDOW:
            return False
        received = abs(size - self._before)
        is_slow = received < LEAST * (now - self._begun)
        self._begun, self._before = now, size
        return is_slow


def too_slow() -> str:
    """Return the text of the error for a download that is too slow."""
    return f"too slow: less than {LEAST} bytes per second for {WINDOW:g} s"


def size_of(folder: Path) -> int:
    """Return the total size of the files below a folder. Other processes may change the files."""
    size = 0
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            with suppress(OSError):
                if entry.is_dir(follow_symlinks=False):
                    size += size_of(Path(entry.path))
                else:
                    size += entry.stat(follow_symlinks=False).st_size
    return size

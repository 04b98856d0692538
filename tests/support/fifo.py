"""A named pipe by which a test and a command wait for each other."""

from __future__ import annotations

import os
import select
from pathlib import Path

from .polling import DEADLINE


class Fifo:
    """A named pipe by which a test and a command wait for each other."""

    def __init__(self, path: Path) -> None:
        os.mkfifo(path)
        self.path = path
        self._fd = os.open(path, os.O_RDWR | os.O_NONBLOCK)

    def __str__(self) -> str:
        """Return its path, for scripts."""
        return str(self.path)

    def release(self) -> None:
        """Write a line, which lets one reader continue."""
        os.write(self._fd, b"\n")

    def wait(self) -> bytes:
        """Wait until a process writes to the pipe, and return the text."""
        readable, _, _ = select.select([self._fd], [], [], DEADLINE)
        assert readable, f"nobody has written to {self.path}"
        return os.read(self._fd, 4096)

    def close(self) -> None:
        os.close(self._fd)

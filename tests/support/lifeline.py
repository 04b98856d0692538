"""A named pipe that shows a test when all processes that opened it have exited."""

from __future__ import annotations

import os
import select
from pathlib import Path

from .polling import DEADLINE


class Lifeline:
    """A named pipe to which processes write a line when they run, and which they keep open.

    A process id would not show this: in another PID namespace, a process has another id.
    """

    def __init__(self, path: Path) -> None:
        os.mkfifo(path)
        self.path = path
        self._fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK)

    def __str__(self) -> str:
        """Return the path of the pipe, for scripts."""
        return str(self.path)

    def wait_for_start(self) -> None:
        assert self._read(), f"everything that had opened {self.path} has exited"

    def wait_for_end(self) -> None:
        """Wait until no process has the pipe open."""
        while self._read():
            pass

    def _read(self) -> bytes:
        readable, _, _ = select.select([self._fd], [], [], DEADLINE)
        assert readable, f"nobody has written to {self.path} or closed it"
        return os.read(self._fd, 4096)

    def close(self) -> None:
        os.close(self._fd)

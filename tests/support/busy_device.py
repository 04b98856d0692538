"""A busy device for tests: a terminal that one process uses exclusively."""

from __future__ import annotations

import fcntl
import os
import termios
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def busy_device() -> Iterator[Path]:
    """Yield the path of a busy device: only root can open it, all others get EBUSY."""
    ours, theirs = os.openpty()
    path = Path(os.ttyname(theirs))
    before = path.stat().st_mode
    path.chmod(0o666)
    fcntl.ioctl(theirs, termios.TIOCEXCL)
    try:
        yield path
    finally:
        path.chmod(before & 0o777)
        os.close(theirs)
        os.close(ours)

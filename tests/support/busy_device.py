"""A device that is busy: a terminal that one process has for itself alone."""

from __future__ import annotations

import fcntl
import os
import termios
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def busy_device() -> Iterator[Path]:
    """Yield the path of a device that nobody but root can open: it is busy (EBUSY)."""
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

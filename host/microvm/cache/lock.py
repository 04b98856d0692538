"""The locks of the cache: who holds one has the only right to make something.

A lock is a file beside what is made, with an flock on it that ends with its process. In the file
stands the process's number, for those who wait. Nobody waits in silence, and a start of a machine
waits only for a process that shows life: it sets the file's time now and then, its heartbeat.
"""

from __future__ import annotations

import errno
import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from microvm import cache
from microvm.concurrency.threads import check_stopped
from microvm.progress import Reporter
from microvm.system.process import is_stopped

INTERVAL = 0.02
"""The time between two attempts to take a lock, in seconds."""

REMINDER = 10.0
"""The time between two notices about who holds the lock, in seconds."""

_FLAGS = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


@contextmanager
def held(path: Path, report: Reporter) -> Iterator[None]:
    """Hold the right to make `path`; wait, and keep saying so, while another process has it.

    :raises CacheError: nothing can be made there.
    """
    wait = _Wait(path, report)
    while True:
        with attempt(path) as ours:
            if ours:
                yield
                return
        wait.pause()


class _Wait:
    """A wait for the holder of a lock, which says now and then for whom it waits."""

    def __init__(self, path: Path, report: Reporter, holder_does: str = "makes") -> None:
        self._path = path
        self._holder_does = holder_does
        self._report = report
        self._reminder = 0.0

    def pause(self) -> None:
        """Wait until the next attempt to take the lock."""
        if time.monotonic() >= self._reminder:
            text = f"waiting for {holder(self._path)}, which {self._holder_does} {self._path}"
            self._report.notice(text)
            self._reminder = time.monotonic() + REMINDER
        check_stopped()
        time.sleep(INTERVAL)


@contextmanager
def attempt(path: Path) -> Iterator[bool]:
    """Take the right to make `path` if nobody has it; yield whether that was so.

    :raises CacheError: nothing can be made there.
    """
    name = _name(path)
    with cache.disk_errors():
        cache.make(path.parent)
        try:
            # For us alone: who can open it, if only to read, can lock it.
            fd = os.open(name, _FLAGS, 0o600)
        except OSError as error:
            if error.errno in {errno.EACCES, errno.EROFS}:
                error.filename = path.parent  # where nobody needs to know of locks
            raise
    ours = False
    try:
        with cache.disk_errors(name):
            ours = _lock(fd, name)
        if ours:
            with suppress(OSError):  # the disk may be full
                os.pwrite(fd, b"%d\n" % os.getpid(), 0)
        yield ours
    finally:
        if ours:
            with suppress(OSError):  # one that nobody holds is in nobody's way
                name.unlink()
        os.close(fd)


@contextmanager
def shared(path: Path, report: Reporter) -> Iterator[None]:
    """Keep everybody from taking the lock of `path`, together with others who do that.

    It waits, and says so now and then, while another process holds the lock.

    :raises CacheError: no lock can be made there.
    """
    name, wait = _name(path), _Wait(path, report, "clears")
    with cache.disk_errors(name):
        cache.make(path.parent)
        while (fd := _open_shared(name)) is None:
            wait.pause()
    try:
        yield
    finally:
        with suppress(OSError):  # a lock file that nobody holds does no harm
            if _lock(fd, name):
                name.unlink()
        os.close(fd)


def _open_shared(name: Path) -> int | None:
    """Open the file of a lock, and share the lock; None where somebody holds it."""
    fd = os.open(name, _FLAGS, 0o600)
    locked = False
    try:
        locked = _lock(fd, name, fcntl.LOCK_SH)
    finally:
        if not locked:
            os.close(fd)
    return fd if locked else None


def _lock(fd: int, name: Path, kind: int = fcntl.LOCK_EX) -> bool:
    """Lock the file, unless its last holder has removed it and another stands there."""
    with suppress(BlockingIOError, FileNotFoundError):
        fcntl.flock(fd, kind | fcntl.LOCK_NB)
        return os.path.samestat(os.fstat(fd), name.stat())
    return False


def holder(path: Path) -> str:
    """Return who has the lock of `path`, in words, and whether that process is stopped."""
    try:
        process = int(cache.read(_name(path)).partition(b"\n")[0])
    except (OSError, ValueError):
        return "another process"
    stopped = f" (stopped: kill -CONT {process})" if is_stopped(process) else ""
    return f"process {process}{stopped}"


def heartbeat(path: Path) -> None:
    """Show those who wait for our lock of `path` that we live."""
    with suppress(OSError):
        os.utime(_name(path))


def last_heartbeat(path: Path) -> tuple[int, int] | None:
    """Return a value that changes with each heartbeat and each holder; None without a holder."""
    with suppress(OSError):
        status = _name(path).stat()
        return status.st_ino, status.st_mtime_ns
    return None


def _name(path: Path) -> Path:
    return path.parent / f".{path.name}.lock"


def sweep(folder: Path) -> None:
    """Remove what processes that were killed have left in a folder of the cache."""
    for left in (*folder.glob(".*.tmp"), *folder.glob(".*.lock")):
        path = folder / left.name[1:].rpartition(".")[0]
        with attempt(path) as ours:
            if ours:
                cache.clear(folder / f".{path.name}.tmp")

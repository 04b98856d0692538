"""Locks of paths in the cache. The holder of a lock may create the file or folder at its path.

A lock is a file beside the path, locked by flock(2), so it ends with its process. The file contains
the id of the process, for messages. A process that waits for a lock tells its user which process
holds it. A start of a machine waits only while the holder sends heartbeats, which set the
modification time of the lock file.
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
"""Number of seconds between two attempts to take a lock."""

REMINDER = 10.0
"""Number of seconds between two notices about the holder of a lock."""

_FLAGS = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


@contextmanager
def held(path: Path, report: Reporter) -> Iterator[None]:
    """Context manager: wait for the lock of `path`, and hold it. `report` shows its holder."""
    for _ in _attempts(path, report, "makes"):
        with attempt(path) as ours:
            if ours:
                yield
                return


def _attempts(path: Path, report: Reporter, verb: str) -> Iterator[None]:
    """Yield before each attempt to lock `path`. Meanwhile, show which process holds the lock.

    Wait between the attempts. With the `verb` "makes", a notice is "waiting for process 7, which
    makes PATH".
    """
    reminder = 0.0
    while True:
        yield
        if time.monotonic() >= reminder:
            report.notice(f"waiting for {holder(path)}, which {verb} {path}")
            reminder = time.monotonic() + REMINDER
        check_stopped()
        time.sleep(INTERVAL)


@contextmanager
def attempt(path: Path) -> Iterator[bool]:
    """Context manager that takes the lock of `path` if it is free. It yields False if it is not."""
    name = _name(path)
    with cache.disk_errors():
        cache.make(path.parent)
        try:
            # No other user may open the lock file, because everyone who can read a file can lock
            # it.
            fd = os.open(name, _FLAGS, 0o600)
        except OSError as error:
            if error.errno in {errno.EACCES, errno.EROFS}:
                # Name the folder in the error, because users do not know the lock file.
                error.filename = path.parent
            raise
    ours = False
    try:
        with cache.disk_errors(name):
            ours = _lock(fd, name)
        if ours:
            # If the disk is full, the process id cannot be written. Ignore the error, because the
            # id only serves messages about the holder of the lock.
            with suppress(OSError):
                os.pwrite(fd, b"%d\n" % os.getpid(), 0)
        yield ours
    finally:
        if ours:
            # If the lock file cannot be removed, ignore the error, because a lock file that nobody
            # holds does no harm.
            with suppress(OSError):
                name.unlink()
        os.close(fd)


@contextmanager
def shared(path: Path, report: Reporter) -> Iterator[None]:
    """Context manager that shares the lock of `path`, so that no process can hold it alone.

    If a process holds the lock alone, wait, and notify the user repeatedly.
    """
    name = _name(path)
    with cache.disk_errors(name):
        cache.make(path.parent)
        opened = (_open_shared(name) for _ in _attempts(path, report, "clears"))
        fd = next(fd for fd in opened if fd is not None)
    try:
        yield
    finally:
        with suppress(OSError):  # ignore errors, because a lock file that nobody holds does no harm
            if _lock(fd, name):
                name.unlink()
        os.close(fd)


def _open_shared(name: Path) -> int | None:
    """Open and share the lock file `name`; return None if a process holds the lock alone."""
    fd = os.open(name, _FLAGS, 0o600)
    locked = False
    try:
        locked = _lock(fd, name, fcntl.LOCK_SH)
    finally:
        if not locked:
            os.close(fd)
    return fd if locked else None


def _lock(fd: int, name: Path, kind: int = fcntl.LOCK_EX) -> bool:
    """Lock the file `name`, open as `fd`, by flock(2); return False if it is in use or removed.

    Another process may have removed it, and created a new lock file called `name`.
    """
    with suppress(BlockingIOError, FileNotFoundError):
        fcntl.flock(fd, kind | fcntl.LOCK_NB)
        return os.path.samestat(os.fstat(fd), name.stat())
    return False


def holder(path: Path) -> str:
    """Return a phrase that names the holder of the lock of `path`, and says if it is stopped."""
    try:
        process = int(cache.read(_name(path)).partition(b"\n")[0])
    except (OSError, ValueError):
        return "another process"
    stopped = f" (stopped: kill -CONT {process})" if is_stopped(process) else ""
    return f"process {process}{stopped}"


def heartbeat(path: Path) -> None:
    """Signal progress to the processes that wait for the lock of `path`, which we hold."""
    with suppress(OSError):
        os.utime(_name(path))


def last_heartbeat(path: Path) -> tuple[int, int] | None:
    """Return a value that changes at each heartbeat and each new holder; None without a holder."""
    with suppress(OSError):
        status = _name(path).stat()
        return status.st_ino, status.st_mtime_ns
    return None


def _name(path: Path) -> Path:
    return path.parent / f".{path.name}.lock"


def sweep(folder: Path) -> None:
    """Remove the unfinished files and the locks of killed processes from a folder of the cache."""
    for unfinished in (*folder.glob(".*.tmp"), *folder.glob(".*.lock")):
        path = folder / unfinished.name[1:].rpartition(".")[0]
        with attempt(path) as ours:
            if ours:
                cache.clear(folder / f".{path.name}.tmp")

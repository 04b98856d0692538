"""The user's cache, and how something appears in it: whole, once, and on the disk."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from microvm.errors import ImageError
from microvm_image.progress import Reporter

FILE_MODE = 0o644
FOLDER_MODE = 0o755
READABLE = 0o444
"""QEMU runs as another user than root, so whatever root keeps here is readable to all."""

LOCK_INTERVAL = 0.02
"""How often who waits for a lock looks whether it is free, in seconds."""


def root() -> Path:
    """Return $MICROVM_CACHE, or the folder that the platform has for this user's caches."""
    if chosen := os.environ.get("MICROVM_CACHE"):
        return Path(chosen).absolute()
    import platformdirs

    return Path(platformdirs.user_cache_dir("microvm"))


def folder(name: str) -> Path:
    """Return a folder of the cache: `images`, `downloads`, …; made if it is not there."""
    top = root()
    with disk_errors():
        for path in (top, top / name):
            if not path.is_dir():
                path.mkdir(parents=True, exist_ok=True)
                path.chmod(FOLDER_MODE)  # whatever the umask
    return top / name


@contextmanager
def lock(path: Path, report: Reporter) -> Iterator[None]:
    """Hold the only right to make `path`; wait, and say so, while another process has it."""
    told = False
    while True:
        with try_lock(path) as held:
            if held:
                yield
                return
        if not told:
            report.notice(f"waiting for another process that makes {path}")
            told = True
        time.sleep(LOCK_INTERVAL)


@contextmanager
def try_lock(path: Path) -> Iterator[bool]:
    """Take the only right to make `path`, if nobody has it; give whether that was so."""
    path.parent.mkdir(parents=True, exist_ok=True)
    name = path.parent / f".{path.name}.lock"
    with name.open("w") as file:
        held = _lock(file.fileno(), name)
        try:
            yield held
        finally:
            if held:
                name.unlink(missing_ok=True)


def _lock(fd: int, name: Path) -> bool:
    """Who had it removes the file at the end, and a third may hold a new one: that is no lock."""
    with suppress(BlockingIOError, FileNotFoundError):
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return os.path.samestat(os.fstat(fd), name.stat())
    return False


@contextmanager
def staging(path: Path) -> Iterator[Path]:
    """Give a name for a file or folder to make; what stands there in the end becomes `path`.

    The caller holds `lock(path)`, so the name is always the same one, and what a killed process
    left under it is cleared here. On an exception nothing stays.
    """
    with scratch(path) as temporary:
        yield temporary
        _settle(temporary)
        if path.is_dir():
            clear(path)  # only files replace what is there
        temporary.replace(path)
        _sync(path.parent)


@contextmanager
def scratch(path: Path) -> Iterator[Path]:
    """Give a name beside `path` that is free now and cleared afterwards."""
    temporary = path.parent / f".{path.name}.tmp"
    clear(temporary)
    try:
        yield temporary
    finally:
        clear(temporary)


def sweep(folder: Path) -> None:
    """Remove what processes that were killed have left in a folder of the cache."""
    for left in (*folder.glob(".*.tmp"), *folder.glob(".*.lock")):
        path = folder / left.name[1:].rpartition(".")[0]
        with try_lock(path) as held:
            if held:
                clear(folder / f".{path.name}.tmp")


def clear(path: Path) -> None:
    """Remove a file or a folder with all that is in it; it need not be there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


@contextmanager
def disk_errors() -> Iterator[None]:
    """Turn what the file system refuses into an `ImageError` that says what to do."""
    try:
        yield
    except OSError as error:
        where = f" {error.filename}" if error.filename else ""
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise ImageError(
                f"disk full while writing{where or ' the cache'}",
                hint="free some space, or set MICROVM_CACHE to a folder elsewhere",
            ) from error
        raise ImageError(
            f"cannot use{where or ' the cache'}: {error.strerror or error}",
            hint="MICROVM_CACHE names another folder for the cache",
        ) from error


def _settle(path: Path) -> None:
    if path.is_dir():
        for child in path.iterdir():
            _settle(child)
        path.chmod(FOLDER_MODE)
    elif path.stat().st_mode & READABLE != READABLE:
        path.chmod(FILE_MODE)
    _sync(path)


def _sync(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)

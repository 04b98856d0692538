"""The user's cache, and how something appears in it: whole, once, and on the disk."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from microvm.errors import ImageError
from microvm_image.progress import Reporter

FILE_MODE = 0o644
FOLDER_MODE = 0o755
"""QEMU runs as another user than root, so whatever root keeps here is readable to all."""


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
    path.parent.mkdir(parents=True, exist_ok=True)
    name = path.parent / f".{path.name}.lock"
    while True:
        with name.open("w") as file:
            _wait_for(file.fileno(), path, report)
            if not _is_still(file.fileno(), name):
                continue  # who had it has removed the file, and a third may hold a new one
            try:
                yield
            finally:
                name.unlink(missing_ok=True)
            return


def _wait_for(fd: int, path: Path, report: Reporter) -> None:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        report.notice(f"waiting for another process that makes {path}")
        fcntl.flock(fd, fcntl.LOCK_EX)


def _is_still(fd: int, name: Path) -> bool:
    with suppress(FileNotFoundError):
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
                f"disk full while writing{where or ' the image'}",
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
    else:
        path.chmod(FILE_MODE)
    _sync(path)


def _sync(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)

"""The user's cache: images, saved guests, kernels, downloads and records.

A new file of the cache is written under a lock, is synced to the disk, and gets its name when it is
complete. A cache that this process cannot write can still be read, such as a cache in the read-only
image of a container, because only functions that write create folders or take locks.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from microvm.cache import readers, trust
from microvm.errors import CacheError, ImageError, MicroVMError
from microvm.system import private
from microvm.system.capacity import SHORTAGES

FILE_MODE = 0o600
FOLDER_MODE = 0o700
READ_ONLY_MODE = 0o400
"""Modes of files and folders in a cache that is not shared; see `readers`.

Files of images and saved guests are read-only, because a QEMU process of the same user may have
been compromised.
"""

SECTOR = 512
"""Number of bytes in one unit of `st_blocks`, as stat(2) defines it."""

HINT_FULL = "free some space, or set MICROVM_CACHE to a folder elsewhere"

_ELSEWHERE = "MICROVM_CACHE names another folder for the cache"
_FOLDER_ABOVE_MODE = 0o755
_LIMIT = 1 << 30
_READ = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
_WRITE = os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CREAT | os.O_TRUNC


class NoHome(CacheError):
    """Error: MICROVM_CACHE is not set, and there is no home folder for the default cache."""


def root() -> Path:
    """Return the path of the cache: $MICROVM_CACHE, or microvm's folder in the user's cache folder.

    :raises Untrusted: Other users can change its content; see `trust`.
    """
    top = _top()
    with disk_errors():
        trust.check(top)
    return top


def _top() -> Path:
    chosen = os.environ.get("MICROVM_CACHE")
    return Path(chosen).absolute() if chosen else usual()


def usual() -> Path:
    """Return the default path of the cache: microvm's folder in the user's cache folder."""
    import platformdirs

    try:
        return Path(platformdirs.user_cache_dir("microvm"))
    except RuntimeError:  # HOME is not set, and the user database has no entry of this user
        raise NoHome("there is no home for a cache", hint=_ELSEWHERE) from None


def folder(name: str) -> Path:
    """Return the path of a folder of the cache, such as `images`, whether it exists or not.

    :raises Untrusted: Other users can change its content; see `trust`.
    """
    top = _top()
    path = top / name
    with disk_errors():
        found = trust.check(path)
        above = trust.check_alone(top)
        shared = readers.is_shared(top, name)
        looked_at = (found, above) if shared else (found,)
        if name and not all(readers.is_right(each, shared=shared) for each in looked_at if each):
            readers.correct(top, made_by_us=not os.environ.get("MICROVM_CACHE"))
    return path


def is_shared(path: Path) -> bool:
    """Return True if root lets all users read the part of the cache that contains `path`."""
    top = _top()
    if not path.is_relative_to(top):
        return False
    parts = path.relative_to(top).parts
    return readers.is_shared(top, parts[0] if parts else "")


def make(path: Path) -> None:
    """Create a folder and its parents, if they do not exist.

    Whatever the umask is, only this user may write to the new folders, and only the users that
    `readers` allows may read the new folders in the cache.
    """
    if path.is_dir():
        return
    make(path.parent)
    ours = path.is_relative_to(_top())
    with suppress(FileExistsError):
        if ours:
            mode = readers.mode(FOLDER_MODE, shared=is_shared(path))
            os.close(private.make_path(os.fspath(path), mode))
        else:
            path.mkdir(mode=_FOLDER_ABOVE_MODE)
    if ours:
        trust.check(path)


def open_file(path: Path) -> int:
    """Open a file of the cache for reading, and return its descriptor.

    :raises OSError: The file does not exist, or is a link or no regular file.
    """
    descriptor = open_plain(path, _READ)
    if wrong := trust.obstacle(os.fstat(descriptor)):
        os.close(descriptor)
        raise PermissionError(errno.EPERM, wrong, str(path))
    return descriptor


def has(path: Path) -> bool:
    """Return True if a file of the cache exists, can be read, and no other user can change it."""
    try:
        os.close(open_file(path))
    except OSError as error:
        if error.errno in SHORTAGES:
            raise
        return False
    return True


def open_plain(path: Path, flags: int = _READ & ~os.O_NOFOLLOW) -> int:
    """Open a regular file of any owner by open(2) with `flags`. Raise OSError for other files."""
    descriptor = os.open(path, flags, FILE_MODE)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "not a plain file", str(path))
    return descriptor


def read(path: Path, limit: int = _LIMIT, opener: Callable[[Path], int] = open_file) -> bytes:
    """Return the content of a file of at most `limit` bytes, which `opener` opens.

    :param opener: `open_file`, or `open_plain` for a file outside the cache.
    :raises OSError: The opener failed, or the file is larger than the limit.
    """
    with os.fdopen(opener(path), "rb") as file:
        if os.fstat(file.fileno()).st_size > limit:
            raise OSError(errno.EFBIG, "too long", str(path))
        return file.read()


def write(path: Path, data: bytes) -> None:
    """Write a short file of the cache. No lock is held, so a reader may find it half written."""
    if path.parent.stat().st_uid != os.geteuid():
        raise PermissionError(errno.EPERM, "its folder is another's", str(path))
    with os.fdopen(open_plain(path, _WRITE), "wb") as file:
        os.fchmod(file.fileno(), readers.mode(FILE_MODE, shared=is_shared(path)))
        file.write(data)


@contextmanager
def staging(path: Path) -> Iterator[Path]:
    """Context manager that yields a temporary path, which is renamed to `path` after the block.

    The caller holds the lock of `path`, so the temporary path is always the same, and files that a
    killed process left there are removed first. If the block raises an exception, the temporary
    file is removed.
    """
    with scratch(path) as temporary:
        yield temporary
        _settle(temporary, shared=is_shared(path))
        if path.is_dir() or temporary.is_dir():
            # rename(2) cannot replace a folder that is not empty, so move the old one away first
            with suppress(FileNotFoundError):
                path.replace(temporary.with_name(f".{path.name}"))
        temporary.replace(path)
        _sync(path.parent)


@contextmanager
def scratch(path: Path) -> Iterator[Path]:
    """Context manager that yields a temporary path beside `path`; its files are removed at the end.

    The name is that of `path`. The folder is a private folder beside `path`: with a umask of 0,
    every user could otherwise read and write the files.
    """
    folder = path.parent / f".{path.name}.tmp"
    make(path.parent)
    clear(folder)
    os.close(private.make_path(os.fspath(folder)))
    try:
        yield folder / path.name
    finally:
        # If the temporary file cannot be removed, ignore the error, because the next process that
        # creates a temporary file for `path` removes it.
        with suppress(OSError):
            clear(folder)


def clear(path: Path) -> None:
    """Remove a file, or a folder with everything in it. Do nothing if it does not exist."""
    if not path.is_dir() or path.is_symlink():
        path.unlink(missing_ok=True)
        return
    import shutil  # loaded only here, since the process that spawns QEMU does not need it

    while path.exists():
        try:
            shutil.rmtree(path)
        except FileNotFoundError:
            # Another process has removed a file in this folder meanwhile. For example, after
            # a tool such as mkfs.erofs was killed, its parent process removes the temporary files
            # of the tool. So try again.
            continue
        except PermissionError:
            if os.geteuid() == 0:
                raise
            _clear_all_ids(path)


def _clear_all_ids(path: Path) -> None:
    """Remove a folder with files of other user ids, as mmdebstrap creates them."""
    from microvm.system.tools import run

    try:
        run(["rm", "-rf", "--", str(path)], what=f"removing {path}", all_ids=True)
    except ImageError as error:
        raise PermissionError(errno.EACCES, error.detail or error.message, str(path)) from error


@contextmanager
def disk_errors(path: Path | None = None) -> Iterator[None]:
    """Context manager that turns an `OSError` into an error that names the file and gives a hint.

    :param path: the file or folder that the message names if the OSError names none.
    :raises CacheError: the disk is full, or a file of the cache cannot be read or written.
    :raises ImageError: the same happens to a file outside the cache.
    """
    try:
        yield
    except MicroVMError:  # some of them are also an OSError, such as a StartError
        raise
    except OSError as error:
        name = error.filename or path
        where = f" {name}" if name else " the cache"
        kind = CacheError if not name or _is_in_cache(name) else ImageError
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise kind(f"disk full while writing{where}", hint=HINT_FULL) from error
        raise kind(
            f"cannot use{where}: {error.strerror or error}",
            hint=SHORTAGES.get(error.errno or 0) or _remedy(error),
        ) from error


def _is_in_cache(path: str | Path) -> bool:
    try:
        return Path(path).is_relative_to(_top())
    except NoHome:
        return False


def _remedy(error: OSError) -> str:
    """Return the hint for an error in the cache, such as a cache that we may not read."""
    with suppress(OSError, NoHome):
        top = _top()
        closed = error.errno == errno.EACCES and 0 == top.stat().st_uid != os.geteuid()
        if closed and not os.path.lexists(top / readers.MARK):
            return f"{_ELSEWHERE}; or root shares it by an empty file {readers.MARK} in it"
    return _ELSEWHERE


def _settle(path: Path, *, shared: bool) -> None:
    """Make `path` readable for its owner, or for all users if `shared`, and sync it to the disk.

    This includes everything in a folder.
    """
    if path.is_dir():
        for child in path.iterdir():
            _settle(child, shared=shared)
    readers.set_mode(path, shared=shared)
    _sync(path)


def _sync(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)

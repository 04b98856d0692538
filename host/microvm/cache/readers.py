"""The users who may read a cache: its owner alone, or every user if root shares it.

Every file has mode 0400 or 0600, a program 0700, and every folder 0700. Root shares a cache with
all users by an empty file `SHARED` in it. All users may then read it, except its snapshots and
disks, which contain the data of guests. Only root can share a cache, because nobody trusts a cache
of another user.

Older versions let all users read every cache. The owner's first use of such a cache corrects that.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from microvm.log import Area

_logger = Area("cache")

MARK = "SHARED"
"""The name of the file by which root shares a cache with all users."""

PRIVATE = ("snapshots", "scratch")
"""The names of the folders of a cache that are never shared, because they contain data of guests.
"""

FOLDERS = (
    *PRIVATE,
    *("templates", "layers", "readymade", "tags", "defaults", "downloads", "kernels"),
    *("images", "programs"),
)
"""The names of all folders of a cache. Each start checks the mode of the last folder, so the last
folder is corrected after all others."""

RECORDS = ("accel-", "clone-", "obstacle-")
"""The beginnings of the names of records in the top folder of a cache: results of probes."""

_OTHERS = 0o077
_READ = 0o055

_corrected: set[tuple[Path, bool]] = set()


def is_shared(top: Path, name: str = "") -> bool:
    """Return True if we are root, and all users may read the cache `top`, or its folder `name`."""
    return os.geteuid() == 0 and name not in PRIVATE and (top / MARK).is_file()


def mode(owner: int, *, shared: bool) -> int:
    """Return a file mode: the bits `owner`, such as 0o700; if `shared`, all users may read, too."""
    return owner | ((owner >> 3 | owner >> 6) & _READ if shared else 0)


def set_mode(path: Path, *, shared: bool) -> None:
    """Set the mode of a file or folder: only its owner may read it, or all users if `shared`.

    The owner keeps the rights to write and execute a file.
    """
    now = path.stat().st_mode
    owner = stat.S_IRWXU if stat.S_ISDIR(now) else now & stat.S_IRWXU | stat.S_IRUSR
    wanted = mode(owner, shared=shared)
    if stat.S_IMODE(now) != wanted:
        path.chmod(wanted)


def is_right(status: os.stat_result, *, shared: bool) -> bool:
    """Return True if a folder has the right mode: only its owner, or all if `shared`, may read it.

    Also return True if another user owns the folder, because its mode cannot be corrected then.
    """
    return status.st_uid != os.geteuid() or status.st_mode & _OTHERS == (_READ if shared else 0)


def correct(top: Path, *, made_by_us: bool) -> None:
    """Set the modes of our files in the cache `top`, so that only permitted users can read them.

    Each process does this once. The mode of the folder `top` is also set if root shares the cache.
    The private folders are corrected first. A file whose mode cannot be set, as on a read-only
    disk, keeps its mode.

    :param made_by_us: True if microvm has created the folder of the cache, so that the mode of this
        folder may be changed, too.
    """
    shared = is_shared(top)
    if (top, shared) in _corrected:
        return
    _corrected.add((top, shared))
    _logger.info("correcting the modes of the files in %s", top)
    for name in FOLDERS:
        for path in _files(top / name):
            _correct(path, shared=is_shared(top, name))
    for beginning in RECORDS:
        for path in top.glob(f"{beginning}*"):
            _correct(path, shared=shared)
    if shared or made_by_us:
        _correct(top, shared=shared)


def _files(folder: Path) -> Iterator[Path]:
    """Yield the paths of everything in a folder of a cache, and at last the path of the folder.

    Locks and unfinished items, whose names begin with a dot, belong to other processes and are
    private already.
    """
    for entry in folder.glob("[!.]*"):
        for inner, _, files in os.walk(entry, topdown=False):
            yield from (Path(inner, name) for name in files)
            yield Path(inner)
        yield entry
    yield folder


def _correct(path: Path, *, shared: bool) -> None:
    with suppress(OSError):
        status = path.lstat()
        if not stat.S_ISLNK(status.st_mode) and status.st_uid == os.geteuid():
            set_mode(path, shared=shared)

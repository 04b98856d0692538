"""The contents of the cache: the number, the size and the last use of the items of each kind."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from microvm import cache
from microvm.cache.readers import MARK, RECORDS
from microvm.cache.verified import RECORD

FOLDERS = {
    "images": "images",
    "snapshots": "snapshots",
    "templates": "templates",
    "kernels": "kernels",
    "downloads": "downloads",
    "layers": "layers",
    "programs": "programs",
    "tags": "records",
    "defaults": "records",
    "readymade": "records",
}
"""The kind of the items in each folder of the cache."""

UNFINISHED = "unfinished"
OTHER = "other"
KINDS = (*dict.fromkeys(FOLDERS.values()), UNFINISHED, OTHER)
"""All kinds of items in the cache. Records are small files with notes. An unfinished item is being
created now, or was left by a killed process."""


class CacheUsage(NamedTuple):
    """The items of one kind in the cache, such as images: their number, size and last use.

    :ivar size: Number of bytes that the items take on the disk. A file that several items share
        counts once.
    :ivar used: Time of the last use of any item, in seconds since 1970; 0.0 without items.
    """

    kind: str
    items: int
    size: int
    used: float


def usage() -> list[CacheUsage]:
    """Return the number, the size and the last use of the cache's items, for each kind of item."""
    found = {kind: CacheUsage(kind, 0, 0, 0.0) for kind in KINDS}
    seen: set[tuple[int, int]] = set()
    with cache.disk_errors():
        for kind, path in _items(cache.root()):
            size, used = _measure(path, seen)
            before = found[kind]
            found[kind] = CacheUsage(
                kind, before.items + 1, before.size + size, max(before.used, used)
            )
    images, templates = found["images"], found["templates"]
    if images.items:  # a machine that is cloned from a template uses the template's image, too
        found["images"] = images._replace(used=max(images.used, templates.used))
    return list(found.values())


def use(path: Path) -> None:
    """Set the time of the last use of a file in the cache to now."""
    with suppress(OSError):  # ignore the error if the file belongs to another user
        os.utime(path)


def last_use(path: Path) -> float:
    """Return the time of the last use of a file or folder, in seconds since 1970."""
    return _measure(path, set())[1]


def _items(root: Path) -> Iterator[tuple[str, Path]]:
    """Yield each item in the cache: its kind, such as images, and its path."""
    for path in _entries(root):
        kind = FOLDERS.get(path.name)
        if path.name.startswith("."):
            yield UNFINISHED, path
        elif kind and path.is_dir():
            for item in _entries(path):
                yield UNFINISHED if item.name.startswith(".") else kind, item
        elif path.name.startswith(RECORDS) or path.name == MARK:
            yield "records", path
        # The folder `scratch` is for open files without names, so it is normally empty. Report the
        # folder only if it contains files with names.
        elif path.name != "scratch" or any(_entries(path)):
            yield OTHER, path


def _entries(folder: Path) -> list[Path]:
    # A folder that was removed or does not exist yet has no items.
    with suppress(FileNotFoundError):
        return sorted(folder.iterdir())
    return []


def _measure(path: Path, seen: set[tuple[int, int]]) -> tuple[int, float]:
    """Return the size on the disk, without inodes in `seen`, and the newest modification time.

    :param seen: Device and inode of each file that was counted before. The size omits these files,
        so a file with several hard links counts once.
    """
    size, used, waiting = 0, 0.0, [path]
    while waiting:
        current = waiting.pop()
        with suppress(FileNotFoundError, PermissionError):
            status = current.lstat()
            if (status.st_dev, status.st_ino) not in seen:
                seen.add((status.st_dev, status.st_ino))
                size += status.st_blocks * cache.SECTOR
            # The time of an item's last use is that of its newest file. But the record of verified
            # digests is also written when an item is only verified, so ignore this file.
            if current.name != RECORD:
                used = max(used, status.st_mtime)
            if stat.S_ISDIR(status.st_mode):
                waiting += [Path(entry.path) for entry in os.scandir(current)]
    return size, used

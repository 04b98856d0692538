"""The contents of the cache by kind: how many there are, their size, and their last use."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from microvm import cache
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
"""The kinds of what lies in the folders of the cache."""

UNFINISHED = "unfinished"
OTHER = "other"
KINDS = (*dict.fromkeys(FOLDERS.values()), UNFINISHED, OTHER)
"""All kinds: records are small notes, and unfinished is what is just being made, or was left."""

RECORDS = ("accel-", "clone-", "obstacle-")
"""The beginnings of the names of records in the cache's own folder: results of probes."""


class Usage(NamedTuple):
    """The usage of the cache by one kind.

    :ivar items: how many there are.
    :ivar size: the bytes that they take on the disk; what several share counts once.
    :ivar used: the time of the last use, in seconds since 1970; 0.0 where there are none.
    """

    kind: str
    items: int
    size: int
    used: float


def usage() -> list[Usage]:
    """Return the usage of each kind.

    :raises ImageError: the cache cannot be trusted, or not be read.
    """
    found = {kind: Usage(kind, 0, 0, 0.0) for kind in KINDS}
    seen: set[tuple[int, int]] = set()
    with cache.disk_errors():
        for kind, path in _items(cache.root()):
            size, used = _measure(path, seen)
            before = found[kind]
            found[kind] = Usage(kind, before.items + 1, before.size + size, max(before.used, used))
    images, templates = found["images"], found["templates"]
    if images.items:  # whoever clones a template uses its image
        found["images"] = images._replace(used=max(images.used, templates.used))
    return list(found.values())


def use(path: Path) -> None:
    """Take note that a file in the cache is used."""
    with suppress(OSError):  # it may be another's
        os.utime(path)


def last_use(path: Path) -> float:
    """Return the time of the last use of a file or folder, in seconds since 1970."""
    return _measure(path, set())[1]


def _items(root: Path) -> Iterator[tuple[str, Path]]:
    """Yield all that lies in the cache, each with its kind."""
    for path in _entries(root):
        kind = FOLDERS.get(path.name)
        if path.name.startswith("."):
            yield UNFINISHED, path
        elif kind and path.is_dir():
            for item in _entries(path):
                yield UNFINISHED if item.name.startswith(".") else kind, item
        elif path.name.startswith(RECORDS):
            yield "records", path
        elif path.name != "scratch" or any(_entries(path)):  # whose files have no names
            yield OTHER, path


def _entries(folder: Path) -> list[Path]:
    with suppress(FileNotFoundError):  # removed meanwhile, or not made yet
        return sorted(folder.iterdir())
    return []


def _measure(path: Path, seen: set[tuple[int, int]]) -> tuple[int, float]:
    """Return the size of a file or folder on the disk, and the newest time of writing in it."""
    size, used, waiting = 0, 0.0, [path]
    while waiting:
        here = waiting.pop()
        with suppress(FileNotFoundError, PermissionError):
            status = here.lstat()
            if (status.st_dev, status.st_ino) not in seen:
                seen.add((status.st_dev, status.st_ino))
                size += status.st_blocks * cache.SECTOR
            if here.name != RECORD:  # which a comparison of digests writes
                used = max(used, status.st_mtime)
            if stat.S_ISDIR(status.st_mode):
                waiting += [Path(entry.path) for entry in os.scandir(here)]
    return size, used

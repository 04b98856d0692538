"""The sharing of files between images: what is the same is one file, under several names.

Many images have one kernel, and many that differ in their defaults only have one disk. A hard link
costs nothing, and machines of all of them share the host's page cache, which copies would not do,
not even those that share blocks. A changed file is found in each of them.
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from microvm import cache
from microvm.cache import verified
from microvm.images import Image, ImageManifest, manifests

_READ = 0o555


@dataclass(frozen=True, slots=True)
class DiskUsage:
    """The use of the disk by an image, in bytes.

    :ivar size: all that it takes.
    :ivar shared: the part of it that others have, too, and that stays when it is removed.
    """

    size: int
    shared: int


def usage(path: Path) -> DiskUsage:
    """Return what the files in the folder of an image take, damaged or not."""
    size = shared = 0
    with suppress(OSError):
        for file in path.iterdir():
            status = file.lstat()
            size += status.st_blocks * cache.SECTOR
            shared += status.st_blocks * cache.SECTOR * (status.st_nlink > 1)
    return DiskUsage(size, shared)


def share(folder: Path, manifest: ImageManifest) -> None:
    """Put in the place of an image's files those of other images in the cache, where they equal.

    :param folder: the folder in which it is made, and nobody else looks yet.
    """
    equal = {
        (size, sha256): path
        for other in manifests()
        if other.path.name != manifest.name
        for path, size, sha256 in other.files
    }
    for path, size, sha256 in Image(folder, manifest).files:
        if other_path := equal.get((size, sha256)):
            with suppress(OSError):  # another file system, or too many links
                _link(other_path, path, sha256)


def _link(existing: Path, copy: Path, sha256: str) -> None:
    link = copy.with_name(f"{copy.name}.link")
    file = cache.open_file(existing)
    try:
        if not verified.check(existing, file, sha256):
            return
        # files of older versions of microvm can be written
        existing.chmod(os.fstat(file).st_mode & _READ)
        link.hardlink_to(existing)
        link.replace(copy)
        verified.remember(existing, file, sha256)  # its time of change is another now
    finally:
        os.close(file)

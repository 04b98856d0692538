"""The sharing of equal files between images: one file with several names.

Many images have the same kernel, and images that differ only in their default options have the same
disk. Hard links save space on the disk, and all machines share the pages of the file in the host's
page cache, which they would not do for copies. Each image verifies its files, so it notices a
changed one.
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
    """The space that an image takes on the disk, in bytes.

    :ivar size: The size of all its files.
    :ivar shared: The size of the files that it shares, which its removal does not free.
    """

    size: int
    shared: int


def usage(path: Path) -> DiskUsage:
    """Return the disk usage of the folder of an image, which may be damaged."""
    size = shared = 0
    with suppress(OSError):
        for file in path.iterdir():
            status = file.lstat()
            size += status.st_blocks * cache.SECTOR
            shared += status.st_blocks * cache.SECTOR * (status.st_nlink > 1)
    return DiskUsage(size, shared)


def share(folder: Path, manifest: ImageManifest) -> None:
    """Replace the files of a new image by links to equal files of other images in the cache.

    :param folder: The folder in which the image is built, and which no other process uses yet.
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
        verified.remember(existing, file, sha256)  # linking has changed the time of its last change
    finally:
        os.close(file)

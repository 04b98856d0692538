"""The sharing of equal files between images, by hard links to one file.

Many images have the same kernel, and images that differ only in their default options have the same
disk. Hard links save space on the host's disk. They also save memory, because all machines share
the pages of one file in the page cache. The files of each image are compared with the digests in
its manifest, so a change of a shared file is noticed.
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
    """The space that an image takes on the host's disk, in bytes.

    :ivar shared: The size of the files that other images use, too. Removing the image does not free
        this space.
    """

    size: int
    shared: int


def usage(path: Path) -> DiskUsage:
    """Return the disk usage of an image, given its folder. The image may be damaged."""
    size = shared = 0
    with suppress(OSError):
        for file in path.iterdir():
            status = file.lstat()
            size += status.st_blocks * cache.SECTOR
            shared += status.st_blocks * cache.SECTOR * (status.st_nlink > 1)
    return DiskUsage(size, shared)


def share(folder: Path, manifest: ImageManifest) -> None:
    """Replace the files of a new image by links to equal files of other images in the cache.

    :param folder: The folder in which the image is built. No other process uses this folder yet.
    """
    equal = {
        (size, sha256): path
        for other in manifests()
        if other.path.name != manifest.name
        for path, size, sha256 in other.files
    }
    for path, size, sha256 in Image(folder, manifest).files:
        if other_path := equal.get((size, sha256)):
            with suppress(OSError):  # keep the copy if no further link to the file is possible
                _link(other_path, path, sha256)


def _link(existing: Path, copy: Path, sha256: str) -> None:
    link = copy.with_name(f"{copy.name}.link")
    file = cache.open_file(existing)
    try:
        if not verified.check(existing, file, sha256):
            return
        # Older versions of microvm have left files writable. Remove that permission.
        existing.chmod(os.fstat(file).st_mode & _READ)
        link.hardlink_to(existing)
        link.replace(copy)
        # The new link has changed the file's ctime. Record the new ctime, or the next check would
        # take the file for a changed one, and compute its digest again.
        verified.remember(existing, file, sha256)
    finally:
        os.close(file)

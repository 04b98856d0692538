"""Writes the folder of an image: its kernel, its initramfs, its manifest, and a disk if needed."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from pathlib import Path

from microvm import cache
from microvm.cpio import CpioEntry
from microvm.images import (
    DISK,
    INITRAMFS,
    KERNEL,
    MANIFEST,
    Image,
    ImageManifest,
    deduplication,
    load,
)
from microvm_image import initramfs
from microvm_image.kernel.selection import Kernel
from microvm_image.programs import Programs


def write(
    path: Path,
    manifest: ImageManifest,
    kernel: Kernel,
    programs: Programs,
    *,
    files: Iterable[CpioEntry] = (),
    write_disk: Callable[[Path], None] | None = None,
) -> Image:
    """Write an image to a path, completely or not at all. The caller holds the lock of the path.

    :param manifest: The manifest without the sizes and digests of the initramfs and the disk.
    :param files: The files of the root file system, if the image has no disk.
    :param write_disk: A function that writes the disk to a path; None for no disk.
    """
    with cache.staging(path) as folder:
        folder.mkdir()
        (folder / KERNEL).write_bytes(kernel.data)
        with (folder / INITRAMFS).open("wb") as file:
            initramfs.write(files, programs.files, kernel.modules, file)
        size, digest = _measured(folder / INITRAMFS)
        manifest = manifest._replace(initramfs_size=size, initramfs_sha256=digest)
        if write_disk:
            write_disk(folder / DISK)
            size, digest = _measured(folder / DISK)
            manifest = manifest._replace(disk_size=size, disk_sha256=digest)
        for each in folder.iterdir():
            each.chmod(cache.READ_ONLY_MODE)
        (folder / MANIFEST).write_text(manifest.json())
        if path.parent == cache.folder("images"):
            deduplication.share(folder, manifest)
    return load(path)


def _measured(path: Path) -> tuple[int, str]:
    """Return the size of a file, and the SHA-256 of its content in hex."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        return file.tell(), digest

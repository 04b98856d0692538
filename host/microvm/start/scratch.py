"""Scratch disks: what guests write their roots to where memory has not enough room for that.

Each is a sparse file in no folder, so that it is gone with the QEMU that has it, however that ends.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from microvm import cache
from microvm.errors import ImageError, QemuError
from microvm.start import sparse

# A disk that is read once needs neither a journal nor blocks that only root may use.
_OPTIONS = ("-q", "-F", "-O", "^has_journal", "-m", "0", "-E", "nodiscard,lazy_itable_init=1")


@contextmanager
def blank(size: int) -> Iterator[int]:
    """Make an empty ext4 file system of that many bytes, and yield its descriptor.

    :raises QemuError: what makes it is not installed, or failed.
    :raises ImageError: the disk is full, or the cache's folder cannot be written.
    """
    from microvm.system import tools

    program = tools.find("mkfs.ext4")
    if program is None:
        raise QemuError(
            "a scratch disk takes mkfs.ext4, which is not installed", hint="apt install e2fsprogs"
        )
    with _unnamed(size) as disk:
        command = [program, *_OPTIONS, f"/dev/fd/{disk}"]
        try:
            tools.run(command, what="making a scratch disk", pass_fds=(disk,))
        except ImageError as error:
            if tools.is_full(error.detail):
                with cache.disk_errors(cache.folder("scratch")):
                    raise OSError(errno.ENOSPC, error.message) from error
            raise QemuError("cannot make a scratch disk", detail=error.detail) from error
        yield disk


@contextmanager
def empty(size: int) -> Iterator[int]:
    """Make a file of that many bytes, all zeros, and yield its descriptor.

    :raises ImageError: the cache's folder cannot be written.
    """
    with _unnamed(size) as disk:
        yield disk


@contextmanager
def copied(saved: int) -> Iterator[int]:
    """Copy a scratch disk, and yield the copy's descriptor.

    :raises ImageError: the disk is full, or the cache's folder cannot be written.
    """
    with _unnamed(0) as disk:
        copy(saved, disk)
        yield disk


def copy(saved: int, disk: int) -> None:
    """Copy a scratch disk into a file of zeros, by their descriptors.

    :raises ImageError: the disk is full.
    """
    with cache.disk_errors(cache.folder("scratch")):
        if not sparse.share(saved, disk):
            sparse.copy(saved, disk)


@contextmanager
def _unnamed(size: int) -> Iterator[int]:
    import tempfile

    folder = cache.folder("scratch")
    with ExitStack() as files:
        with cache.disk_errors(folder):
            cache.make(folder)
            disk = files.enter_context(tempfile.TemporaryFile(dir=folder)).fileno()
            os.ftruncate(disk, size)
        yield disk

"""Scratch disks: files to which guests write changes of their root file systems.

Without a scratch disk, a guest keeps these changes in memory.

A scratch disk is a sparse file without a name. So the kernel removes it when its QEMU exits for any
reason.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from microvm import cache, start
from microvm.errors import ImageError, QemuError
from microvm.start import sparse

# Options of mkfs.ext4. One machine uses the disk once, so it needs no journal and no blocks
# reserved for root.
_OPTIONS = ("-q", "-F", "-O", "^has_journal", "-m", "0", "-E", "nodiscard,lazy_itable_init=1")


@contextmanager
def blank(size: int) -> Iterator[int]:
    """Context manager that creates an empty ext4 file system in a file of `size` bytes.

    It yields the descriptor of the file, which has no name.
    """
    from microvm.system import tools

    program = tools.find("mkfs.ext4")
    if program is None:
        raise QemuError(
            "cannot make a scratch disk: mkfs.ext4 is not installed", hint="apt install e2fsprogs"
        )
    with empty(size) as disk:
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
def copied(saved: int) -> Iterator[int]:
    """Context manager that copies a saved guest's scratch disk, and yields its descriptor."""
    with empty(0) as disk:
        copy(saved, disk)
        yield disk


def copy(saved: int, disk: int) -> None:
    """Copy the content of a scratch disk to an empty file; both parameters are descriptors."""
    with cache.disk_errors(cache.folder("scratch")):
        if not sparse.share(saved, disk):
            sparse.copy(saved, disk)


@contextmanager
def empty(size: int) -> Iterator[int]:
    """Context manager that creates a file of `size` zero bytes, and yields its descriptor."""
    folder = cache.folder("scratch")
    with ExitStack() as files:
        with cache.disk_errors(folder):
            cache.make(folder)
            disk = files.enter_context(start.TemporaryFile(dir=folder)).fileno()
            os.ftruncate(disk, size)
        yield disk

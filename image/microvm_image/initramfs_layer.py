"""Reads the root file system of an image from its initramfs."""

from __future__ import annotations

import re
import stat
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass

from microvm.cpio import HEADER, MAGIC, TRAILER
from microvm.errors import ImageError
from microvm_image.file_range import FileRange
from microvm_image.layer import Member
from microvm_image.limits import PATH_MAX, Budget
from microvm_image.node import FileNode, Folder
from microvm_image.programs import NAMES

# Matches the paths of kernel modules that microvm has added to an initramfs, such as
# `lib/modules/0.ko`.
_MODULE = re.compile(r"lib/modules/(\w+/)?\d+\.ko", re.ASCII)


@dataclass(frozen=True, slots=True)
class InitramfsLayer:
    """The files in the initramfs of an image, without microvm's programs and kernel modules."""

    name: str
    open: Callable[[ExitStack], FileRange]

    def members(self, files: ExitStack, budget: Budget) -> Iterator[Member]:
        """Open the initramfs until `files` closes it; yield its files within the limits `budget`.

        Programs and kernel modules that microvm has added are skipped.
        """
        archive = self.open(files)
        budget.take_stored(archive.size)
        budget.take_bytes(archive.size)
        for path, node in _members(archive, self.name):
            if path not in NAMES and not _MODULE.fullmatch(path):
                yield path, node


def _members(archive: FileRange, name: str) -> Iterator[tuple[str, FileNode]]:
    """Yield each file in an initramfs with its path. The content of the files is not read yet."""
    offset = 0
    while True:
        header = archive.read(offset, HEADER)
        try:
            # Check that all characters are letters and digits, because int() also accepts signs,
            # blanks and underscores.
            fields = [int(header[index : index + 8], 16) for index in range(len(MAGIC), HEADER, 8)]
            is_header = header.startswith(MAGIC) and len(header) == HEADER and header.isalnum()
        except ValueError:
            is_header = False
        if not is_header or not 0 < fields[11] <= PATH_MAX:
            raise _damaged(name, "it is no cpio archive")
        _, mode, uid, gid, _, _, size, *_, length, _ = fields
        path = archive.read(offset + HEADER, length - 1).decode("utf-8", "surrogateescape")
        if path == TRAILER:
            return
        data = archive.part(offset + HEADER + length + -(HEADER + length) % 4, size)
        if data.size != size:
            raise _damaged(name, "it is cut short")
        yield path, _node(mode, uid, gid, data)
        offset += HEADER + length + -(HEADER + length) % 4 + size + -size % 4


def _damaged(name: str, why: str) -> ImageError:
    return ImageError(
        f"{name}: damaged initramfs: {why}",
        hint="remove the image, and build or import it again",
    )


def _node(mode: int, uid: int, gid: int, data: FileRange) -> FileNode:
    if stat.S_ISDIR(mode):
        return Folder(mode, uid, gid)
    if stat.S_ISLNK(mode):
        target = b"".join(data.part(0, PATH_MAX).chunks()).decode("utf-8", "surrogateescape")
        return FileNode(mode, uid, gid, target=target)
    return FileNode(mode, uid, gid, data=data if stat.S_ISREG(mode) else None)

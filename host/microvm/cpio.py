"""The archive format of an initramfs: cpio in the form `newc`, which Linux unpacks at boot.

Each header is 110 bytes of ASCII: a magic number and 13 numbers of 8 hex digits. Names and data are
padded to 4 bytes. The same entries always give the same bytes.
"""

from __future__ import annotations

import stat
from collections.abc import Iterable
from dataclasses import dataclass
from typing import BinaryIO

from microvm.errors import ImageError

MAGIC = b"070701"
TRAILER = "TRAILER!!!"

_FIELDS = 13
HEADER = len(MAGIC) + 8 * _FIELDS
"""Size of the header before each member of an archive, in bytes."""


@dataclass(frozen=True, slots=True)
class CpioEntry:
    """A file, folder or link to write to a cpio archive.

    :ivar name: The relative path, without a leading `./`.
    :ivar mode: The type and permissions, as in `stat.st_mode`.
    :ivar data: The content of a file or the target of a symbolic link; less than 4 GiB.
    """

    name: str
    mode: int
    data: bytes = b""
    uid: int = 0
    gid: int = 0

    @classmethod
    def folder(cls, name: str, permissions: int = 0o755) -> CpioEntry:
        """Return a cpio archive's entry for a folder that belongs to root."""
        return cls(name, stat.S_IFDIR | permissions)

    @classmethod
    def file(cls, name: str, data: bytes, permissions: int = 0o644) -> CpioEntry:
        """Return a cpio archive's entry for a file that belongs to root."""
        return cls(name, stat.S_IFREG | permissions, data)

    @classmethod
    def link(cls, name: str, target: str) -> CpioEntry:
        """Return a cpio archive's entry for a symbolic link that belongs to root."""
        return cls(name, stat.S_IFLNK | 0o777, encoded(target))


def encoded(name: str) -> bytes:
    """Convert the text of a file name, as `os.fsdecode` returns it, back to the original bytes."""
    return name.encode("utf-8", "surrogateescape")


def write(entries: Iterable[CpioEntry], out: BinaryIO) -> None:
    """Write the entries to a cpio archive, sorted by name, so that a folder precedes its files."""
    inode = 0
    for inode, entry in enumerate(sorted(entries, key=lambda e: encoded(e.name)), start=1):
        if entry.name == TRAILER:
            raise ImageError(f"no file of an image can be named {TRAILER}")
        _write(entry, inode, out)
    _write(CpioEntry(TRAILER, 0), inode + 1, out)


def _write(entry: CpioEntry, inode: int, out: BinaryIO) -> None:
    name = encoded(entry.name) + b"\0"
    fields = (
        inode,
        entry.mode,
        entry.uid,
        entry.gid,
        2 if stat.S_ISDIR(entry.mode) else 1,  # number of links
        0,  # time of modification
        len(entry.data),
        0, 0, 0, 0,  # numbers of the file's device, and of a device file
        len(name),
        0,  # checksum, which this form of cpio does not use
    )  # fmt: skip
    header = MAGIC + b"".join(b"%08x" % field for field in fields)
    for part in (header + name, entry.data):
        out.write(part)
        out.write(bytes(-len(part) % 4))

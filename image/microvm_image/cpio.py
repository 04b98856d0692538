"""The newc format of cpio, which the kernel unpacks as its first file system.

Each header is 110 bytes of ASCII: a magic number and 13 numbers of 8 hex digits. Names and data
are padded to 4 bytes. The same entries always give the same bytes.
"""

from __future__ import annotations

import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import BinaryIO

from microvm.errors import ImageError
from microvm_image.extent import Extent
from microvm_image.limits import PATH_MAX
from microvm_image.node import Folder, Node

MAGIC = b"070701"
TRAILER = "TRAILER!!!"

_FIELDS = 13
HEADER = len(MAGIC) + 8 * _FIELDS
"""The size of a header, in bytes."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A member of an archive.

    :ivar name: the relative path, without a leading `./`.
    :ivar mode: type and permissions, as in `stat.st_mode`.
    :ivar data: a file's content or a symbolic link's target; less than 4 GiB.
    """

    name: str
    mode: int
    data: bytes = b""
    uid: int = 0
    gid: int = 0

    @classmethod
    def folder(cls, name: str, permissions: int = 0o755) -> Entry:
        """Return a folder that belongs to root."""
        return cls(name, stat.S_IFDIR | permissions)

    @classmethod
    def file(cls, name: str, data: bytes, permissions: int = 0o644) -> Entry:
        """Return a file that belongs to root."""
        return cls(name, stat.S_IFREG | permissions, data)

    @classmethod
    def link(cls, name: str, target: str) -> Entry:
        """Return a symbolic link that belongs to root."""
        return cls(name, stat.S_IFLNK | 0o777, encoded(target))


def encoded(name: str) -> bytes:
    """Return the bytes that a decoded name had: Linux gives names no encoding."""
    return name.encode("utf-8", "surrogateescape")


def write(entries: Iterable[Entry], out: BinaryIO) -> None:
    """Write an archive of the entries, sorted by name, so that a folder precedes its content.

    :raises ImageError: one has the name that ends an archive.
    """
    inode = 0
    for inode, entry in enumerate(sorted(entries, key=lambda e: encoded(e.name)), start=1):
        if entry.name == TRAILER:
            raise ImageError(f"no file of an image can be named {TRAILER}")
        _write(entry, inode, out)
    _write(Entry(TRAILER, 0), inode + 1, out)


def read(archive: Extent, name: str) -> Iterator[tuple[str, Node]]:
    """Yield the members of an archive, whose data are not read yet.

    :param name: the archive's name, for messages.
    :raises ImageError: the archive is damaged.
    """
    offset = 0
    while True:
        header = archive.read(offset, HEADER)
        try:
            # int() would also accept signs, blanks and underscores.
            fields = [int(header[at : at + 8], 16) for at in range(len(MAGIC), HEADER, 8)]
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


def _node(mode: int, uid: int, gid: int, data: Extent) -> Node:
    if stat.S_ISDIR(mode):
        return Folder(mode, uid, gid)
    if stat.S_ISLNK(mode):
        target = b"".join(data.part(0, PATH_MAX).chunks()).decode("utf-8", "surrogateescape")
        return Node(mode, uid, gid, target=target)
    return Node(mode, uid, gid, data=data if stat.S_ISREG(mode) else None)


def _write(entry: Entry, inode: int, out: BinaryIO) -> None:
    name = encoded(entry.name) + b"\0"
    fields = (
        inode,
        entry.mode,
        entry.uid,
        entry.gid,
        2 if stat.S_ISDIR(entry.mode) else 1,  # links
        0,  # mtime
        len(entry.data),
        0, 0, 0, 0,  # the device it was on, the device it is
        len(name),
        0,  # checksum, unused in this form
    )  # fmt: skip
    header = MAGIC + b"".join(b"%08x" % field for field in fields)
    for part in (header + name, entry.data):
        out.write(part)
        out.write(bytes(-len(part) % 4))

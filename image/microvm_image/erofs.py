"""The files of an uncompressed EROFS, read back as a layer (linux/fs/erofs/erofs_fs.h).

An image keeps nothing else to be made into another: its disk has all that its tree had, and the
files' data are read where they lie. The tools of erofs-utils write them to folders only, and owners
and devices by root only.
"""

from __future__ import annotations

import stat
import struct
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass

from microvm.errors import ImageError
from microvm_image.extent import Extent
from microvm_image.layer import Member
from microvm_image.limits import PATH_MAX, Budget
from microvm_image.node import Folder, HardLink, Node

_MAGIC = 0xE0F5E1E2
_SUPER = struct.Struct("<I8xBxHQQI4xII32xI")
_SUPER_OFFSET = 1024
_COMPACT = struct.Struct("<HHHHI4xI4xHH4x")
_EXTENDED = struct.Struct("<HHH2xQI4xIIQ4xI16x")
_DIRENT = struct.Struct("<QHBx")
_XATTRS = struct.Struct("<4xB7x")
_XATTR = struct.Struct("<BBH")
_XATTR_NAMES = {
    1: "user.",
    2: "system.posix_acl_access",
    3: "system.posix_acl_default",
    4: "trusted.",
    6: "security.",
}
_SLOT = 32  # of inodes, whose number is that of their slot
_PLAIN, _INLINE = 0, 2  # layouts of data
_FOLDER_MAX = 1 << 28  # bytes of one folder's names


@dataclass(frozen=True, slots=True)
class _Split:
    """A content whose end lies behind its inode."""

    blocks: Extent
    tail: Extent

    @property
    def size(self) -> int:
        return self.blocks.size + self.tail.size

    def chunks(self) -> Iterator[bytes]:
        yield from self.blocks.chunks()
        yield from self.tail.chunks()


@dataclass(frozen=True, slots=True)
class ErofsLayer:
    """A disk, as `disk.write` has written it.

    :ivar open: returns the disk.
    """

    name: str
    open: Callable[[ExitStack], Extent]

    def members(self, files: ExitStack, budget: Budget) -> Iterator[Member]:
        """Yield the members, folders before what is in them."""
        disk = self.open(files)
        budget.take_bytes(disk.size)
        try:
            yield from _Reader(disk).members()
        except (struct.error, ValueError, LookupError) as error:
            raise ImageError(f"{self.name}: damaged disk: {error}") from error


class _Reader:
    """A disk that is read as members, of the forms that our own ones have."""

    def __init__(self, disk: Extent) -> None:
        self._disk = disk
        magic, bits, root, _, built, _, meta, xattrs, _ = _SUPER.unpack(
            disk.read(_SUPER_OFFSET, _SUPER.size)
        )
        if magic != _MAGIC or not 9 <= bits <= 16:
            raise ValueError("it is no EROFS")
        self._root, self._built, self._bits = root, built, bits
        self._meta, self._xattrs = meta << bits, xattrs << bits

    def members(self) -> Iterator[Member]:
        seen: dict[int, str] = {}
        stack = [("", self._root)]
        while stack:
            path, number = stack.pop()
            if number in seen:
                yield path, HardLink(seen[number])
                continue
            node, data = self._inode(number)
            if isinstance(node, Folder):
                seen[number] = f"{path}/"  # no folder has two names
                inside = f"{path}/" if path else ""
                stack += [(inside + name, child) for name, child in self._names(data)]
            else:
                seen[number] = path
            yield path or ".", node

    def _inode(self, number: int) -> tuple[Node, Extent | _Split]:
        offset = self._meta + number * _SLOT
        head = self._disk.read(offset, _EXTENDED.size)
        if head[0] & 1:
            shape, attributes, mode, size, where, uid, gid, mtime, _ = _EXTENDED.unpack(head)
            offset += _EXTENDED.size
        else:
            head = head[: _COMPACT.size]
            shape, attributes, mode, _, size, where, uid, gid = _COMPACT.unpack(head)
            mtime = self._built
            offset += _COMPACT.size
        area = 12 + 4 * (attributes - 1) if attributes else 0
        xattrs = tuple(sorted(self._attributes(offset, area)))
        kind = stat.S_IFMT(mode)
        is_device = kind in {stat.S_IFCHR, stat.S_IFBLK}
        device = ((where >> 8) & 0xFFF, where & 0xFF | (where >> 12) & 0xFFF00)
        has_data = kind in {stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK}
        data = self._data(shape >> 1 & 7, where, offset + area, size if has_data else 0)
        node = (Folder if kind == stat.S_IFDIR else Node)(
            mode,
            uid,
            gid,
            mtime,
            device if is_device else (0, 0),
            self._text(data, PATH_MAX) if kind == stat.S_IFLNK else "",
            xattrs,
            data if kind == stat.S_IFREG else None,
        )
        return node, data

    def _data(self, layout: int, block: int, behind: int, size: int) -> Extent | _Split:
        if size == 0:
            return self._disk.part(0, 0)
        tail = size & ((1 << self._bits) - 1) if layout == _INLINE else 0
        blocks = self._disk.part(block << self._bits, size - tail)
        if layout not in {_PLAIN, _INLINE}:
            raise ValueError("it is compressed")
        found = _Split(blocks, self._disk.part(behind, tail)) if tail else blocks
        if found.size != size:
            raise ValueError("a file leads out of it")
        return found

    def _text(self, data: Extent | _Split, limit: int) -> str:
        return self._read(data, limit).decode("utf-8", "surrogateescape")

    def _read(self, data: Extent | _Split, limit: int) -> bytes:
        if data.size > limit:
            raise ValueError("a link or a folder is too long")
        return b"".join(data.chunks())

    def _names(self, data: Extent | _Split) -> Iterator[tuple[str, int]]:
        everything = self._read(data, _FOLDER_MAX)
        for start in range(0, len(everything), 1 << self._bits):
            block = everything[start : start + (1 << self._bits)]
            count = _DIRENT.unpack_from(block)[1] // _DIRENT.size
            entries = [_DIRENT.unpack_from(block, index * _DIRENT.size) for index in range(count)]
            ends = [entry[1] for entry in entries[1:]] + [len(block)]
            for (number, begin, _), end in zip(entries, ends, strict=True):
                name = block[begin:end].split(b"\0", 1)[0]
                if name not in {b".", b".."}:
                    yield name.decode("utf-8", "surrogateescape"), number

    def _attributes(self, offset: int, area: int) -> Iterator[tuple[str, bytes]]:
        if not area:
            return
        data = self._disk.read(offset, area)
        [shared] = _XATTRS.unpack_from(data)
        at = _XATTRS.size + 4 * shared
        for index in range(shared):
            [number] = struct.unpack_from("<I", data, _XATTRS.size + 4 * index)
            start = self._xattrs + 4 * number
            yield self._attribute(self._disk.read(start, 1 << 17), 0)[0]
        while at + _XATTR.size <= len(data) and data[at]:
            found, at = self._attribute(data, at)
            yield found

    def _attribute(self, data: bytes, at: int) -> tuple[tuple[str, bytes], int]:
        length, kind, size = _XATTR.unpack_from(data, at)
        begin = at + _XATTR.size
        value = begin + length
        name = _XATTR_NAMES[kind] + data[begin:value].decode("utf-8", "surrogateescape")
        return (name, data[value : value + size]), (value + size + 3) & ~3

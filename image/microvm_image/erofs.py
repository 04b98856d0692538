"""Reads the files of an image from its disk, which is an uncompressed EROFS file system.

An image stores no other copy of its files, so a build that starts from an image reads its disk, in
the format of linux/fs/erofs/erofs_fs.h. The tools of erofs-utils cannot do that: they extract files
only to folders, and need root for owners and devices.

A disk may be hostile: any number of its folders and files may share the same blocks, although
`disk.write` never writes such a disk. So the reader adds up the sizes of all files, folders and
attributes, and refuses a disk that is smaller than their sum. This limits the memory and the time
of the reader.
"""

from __future__ import annotations

import stat
import struct
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass

from microvm.errors import ImageError
from microvm_image.file_range import FileRange
from microvm_image.layer import Member
from microvm_image.limits import MTIME_END, PATH_MAX, Budget
from microvm_image.node import FileNode, Folder, HardLink, Way, joined

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
_SLOT = 32  # size in bytes of a slot; the number of an inode is the number of its first slot
_PLAIN, _INLINE = 0, 2  # EROFS's numbers for the ways in which the data of a file can be stored


@dataclass(frozen=True, slots=True)
class _Split:
    """The content of a file whose last bytes are stored after its inode, not in blocks."""

    blocks: FileRange
    tail: FileRange

    @property
    def size(self) -> int:
        return self.blocks.size + self.tail.size

    def chunks(self) -> Iterator[bytes]:
        yield from self.blocks.chunks()
        yield from self.tail.chunks()


@dataclass(frozen=True, slots=True)
class ErofsLayer:
    """A layer with the files of an image of microvm, read from the EROFS disk that `open` opens."""

    name: str
    open: Callable[[ExitStack], FileRange]

    def members(self, files: ExitStack, budget: Budget) -> Iterator[Member]:
        """Open the disk until `files` closes it, and yield its files within the limits `budget`.

        Each folder is yielded before its content.
        """
        disk = self.open(files)
        budget.take_stored(disk.size)
        budget.take_bytes(disk.size)
        try:
            yield from _ErofsReader(disk).members()
        except (struct.error, ValueError, LookupError) as error:
            raise ImageError(
                f"{self.name}: damaged disk: {error}",
                hint="remove the image, and build or import it again",
            ) from error


class _ErofsReader:
    """A reader of a disk's files. It supports only the forms of inodes that `disk.write` uses."""

    def __init__(self, disk: FileRange) -> None:
        self._disk = disk
        magic, bits, root, _, built, _, meta, xattrs, _ = _SUPER.unpack(
            disk.read(_SUPER_OFFSET, _SUPER.size)
        )
        if magic != _MAGIC or not 9 <= bits <= 16:
            raise ValueError("it is no EROFS")
        self._root, self._built, self._bits = root, built, bits
        self._meta, self._xattrs = meta << bits, xattrs << bits
        self._left = disk.size
        self._shared: dict[int, tuple[str, bytes]] = {}

    def _take(self, size: int) -> None:
        """Add `size` to the sum of sizes. Raise ValueError if the sum exceeds the disk's size.

        The files, folders or attributes of the disk then overlap.
        """
        self._left -= size
        if self._left < 0:
            raise ValueError("its files and folders overlap")

    def members(self) -> Iterator[Member]:
        """Yield the files and folders. Only one block of each parent folder is in memory."""
        seen: dict[int, Way] = {}  # the first path of each file with hard links
        folders = {self._root}
        root, data, _ = self._inode(self._root)
        if not isinstance(root, Folder):
            raise ValueError("its root is no folder")
        yield ".", root
        stack: list[tuple[Way, str, Iterator[tuple[str, int]]]] = [(None, "", self._names(data))]
        while stack:
            above, prefix, names = stack[-1]
            if (found := next(names, None)) is None:
                stack.pop()
                continue
            name, number = found
            path, way = prefix + name, (above, name)
            if len(path) >= PATH_MAX:
                raise ValueError(f"a path is too long: {path[:64]}...")
            if number in seen:
                yield path, HardLink(joined(seen[number]))
                continue
            node, data, links = self._inode(number)
            if isinstance(node, Folder):
                if number in folders:
                    raise ValueError(f"a folder has two names, one of which is {path!r}")
                folders.add(number)
                stack.append((way, f"{path}/", self._names(data)))
            else:
                self._take(data.size)
                if links > 1:
                    seen[number] = way
            yield path, node

    def _inode(self, number: int) -> tuple[FileNode, FileRange | _Split, int]:
        """Return the file that inode `number` describes, its data, and its number of hard links."""
        self._take(_COMPACT.size)
        offset = self._meta + number * _SLOT
        head = self._disk.read(offset, _EXTENDED.size)
        if len(head) < _COMPACT.size:
            raise ValueError("an inode is beyond the end of the disk")
        if head[0] & 1:
            shape, attributes, mode, size, where, uid, gid, mtime, links = _EXTENDED.unpack(head)
            offset += _EXTENDED.size
        else:
            head = head[: _COMPACT.size]
            shape, attributes, mode, links, size, where, uid, gid = _COMPACT.unpack(head)
            mtime = self._built
            offset += _COMPACT.size
        area = 12 + 4 * (attributes - 1) if attributes else 0
        xattrs = tuple(sorted(self._attributes(offset, area)))
        kind = stat.S_IFMT(mode)
        is_device = kind in {stat.S_IFCHR, stat.S_IFBLK}
        device = ((where >> 8) & 0xFFF, where & 0xFF | (where >> 12) & 0xFFF00)
        has_data = kind in {stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK}
        data = self._data(shape >> 1 & 7, where, offset + area, size if has_data else 0)
        node = (Folder if kind == stat.S_IFDIR else FileNode)(
            mode,
            uid,
            gid,
            min(mtime, MTIME_END),
            device if is_device else (0, 0),
            self._target(data) if kind == stat.S_IFLNK else "",
            xattrs,
            data if kind == stat.S_IFREG else None,
        )
        return node, data, links

    def _data(self, layout: int, block: int, behind: int, size: int) -> FileRange | _Split:
        if size == 0:
            return self._disk.part(0, 0)
        tail = size & ((1 << self._bits) - 1) if layout == _INLINE else 0
        blocks = self._disk.part(block << self._bits, size - tail)
        if layout not in {_PLAIN, _INLINE}:
            raise ValueError("it is compressed")
        found = _Split(blocks, self._disk.part(behind, tail)) if tail else blocks
        if found.size != size:
            raise ValueError("a file extends beyond the end of the disk")
        return found

    def _target(self, data: FileRange | _Split) -> str:
        if data.size > PATH_MAX:
            raise ValueError("the target of a link is too long")
        return b"".join(data.chunks()).decode("utf-8", "surrogateescape")

    def _names(self, data: FileRange | _Split) -> Iterator[tuple[str, int]]:
        """Yield each name in the folder with the content `data`, and the number of its inode."""
        self._take(data.size)
        for block in self._blocks(data):
            count = _DIRENT.unpack_from(block)[1] // _DIRENT.size
            entries = [_DIRENT.unpack_from(block, index * _DIRENT.size) for index in range(count)]
            ends = [entry[1] for entry in entries[1:]] + [len(block)]
            for (number, begin, _), end in zip(entries, ends, strict=True):
                name = block[begin:end].split(b"\0", 1)[0]
                if name not in {b".", b".."}:
                    yield name.decode("utf-8", "surrogateescape"), number

    def _blocks(self, data: FileRange | _Split) -> Iterator[bytes]:
        size = 1 << self._bits
        for part in (data.blocks, data.tail) if isinstance(data, _Split) else (data,):
            for offset in range(0, part.size, size):
                yield part.read(offset, size)

    def _attributes(self, offset: int, area: int) -> Iterator[tuple[str, bytes]]:
        if not area:
            return
        self._take(area)
        data = self._disk.read(offset, area)
        [shared] = _XATTRS.unpack_from(data)
        position = _XATTRS.size + 4 * shared
        for index in range(shared):
            [number] = struct.unpack_from("<I", data, _XATTRS.size + 4 * index)
            yield self._shared_attribute(number)
        while position + _XATTR.size <= len(data) and data[position]:
            found, position = self._attribute(data, position)
            yield found

    def _shared_attribute(self, number: int) -> tuple[str, bytes]:
        if number not in self._shared:
            offset = self._xattrs + 4 * number
            length, _, size = _XATTR.unpack(self._disk.read(offset, _XATTR.size))
            total = _XATTR.size + length + size
            self._take(total)
            self._shared[number] = self._attribute(self._disk.read(offset, total), 0)[0]
        return self._shared[number]

    def _attribute(self, data: bytes, position: int) -> tuple[tuple[str, bytes], int]:
        length, kind, size = _XATTR.unpack_from(data, position)
        begin = position + _XATTR.size
        value = begin + length
        name = _XATTR_NAMES[kind] + data[begin:value].decode("utf-8", "surrogateescape")
        return (name, data[value : value + size]), (value + size + 3) & ~3

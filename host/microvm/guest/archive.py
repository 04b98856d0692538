"""Tar archives that are unpacked into a guest, or created from the files of a guest.

Both the archive and the guest may be hostile. The names in an archive for the guest never touch the
host's file system: the archive is read completely, into a tree in memory and an unnamed file for
the content, before anything is sent. An archive from the guest is written from the files that
`files.get` has copied, after the copy is complete.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import stat
import tarfile
import tempfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Self

from microvm.errors import MicroVMError, UsageError
from microvm.guest.exchange import Exchange
from microvm.guest.limits import TransferLimits
from microvm.guest.upload import CHUNK, entry
from microvm.wire import files

_NEW_FOLDER = 0o755

# maximum number of bytes that are read at once, which also limits the header of an archive's member
_PIECE = 1 << 20
# Maximum size of an unpacked archive: the limit of its files' content, plus _OVERHEAD bytes, plus
# _MEMBER_OVERHEAD bytes for each file that the limits allow.
_OVERHEAD, _MEMBER_OVERHEAD = 1 << 20, 1 << 12

_GLOBALS = 4 << 10  # maximum number of bytes in the global headers of an archive
_MODES_END = 1 << 32
# Times from this second on are replaced by the current time, because their number of nanoseconds
# needs more than 63 bits.
_SECONDS_END = 1 << 33


@dataclass(slots=True)
class ArchiveMember:
    """A file, a folder or a symbolic link in an archive.

    :ivar mode: Type and permissions, as in `st_mode`.
    :ivar mtime: Modification time in nanoseconds since 1970.
    :ivar offset: Position of a file's content in the unnamed file of the tree.
    """

    mode: int
    mtime: int = files.NOW
    offset: int = 0
    size: int = 0
    target: bytes = b""
    members: dict[bytes, ArchiveMember] = field(default_factory=dict)

    def entry(self, name: bytes) -> files.Entry:
        """Return the message that announces this member to the guest."""
        return entry(self.mode, name, size=self.size, mtime=self.mtime, target=self.target)


class ArchiveTree:
    """The files, folders and links of a tar archive; use it as a context manager.

    :ivar root: Folder that contains everything in the archive.
    :ivar left_out: Names of the devices and FIFOs in the archive, which are skipped.
    """

    def __init__(self, path: str, limits: TransferLimits) -> None:
        """Create an empty tree for an archive that is unpacked at `path`, within the `limits`."""
        self.root = ArchiveMember(stat.S_IFDIR | _NEW_FOLDER)
        self.left_out: list[str] = []
        self._path = path
        self._limits = limits
        self._content = tempfile.TemporaryFile()  # noqa: SIM115 - `__exit__` closes it
        self._end = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._content.close()

    def read(self, archive: BinaryIO) -> None:
        """Read a tar archive, compressed or not, to its end, and add its files to this tree.

        :raises UsageError: If the file is no archive, is damaged or incomplete, or names a path
            outside of the archive.
        :raises FileError: If the archive exceeds the limits.
        """
        with _reading():
            limit = self._limits.size + _OVERHEAD + _MEMBER_OVERHEAD * self._limits.files
            stream: Any = _ArchiveReader(archive, limit)
            with tarfile.TarFile(
                fileobj=stream, encoding="utf-8", errors="surrogateescape"
            ) as members:
                for member in members:
                    # tarfile keeps all members in a list, so clear the list to bound the memory.
                    members.members = []  # type: ignore[attr-defined]
                    _check_globals(members)
                    self._add(members, member)
            # tarfile takes any block that is no header as the end of the archive, so a damaged
            # archive would seem complete. Check that the block consists of zeros, as the end of an
            # archive does.
            if len(stream.last) < tarfile.BLOCKSIZE or any(stream.last):
                raise _invalid("it is cut short, or damaged")
        self._content.flush()

    async def send(self, exchange: Exchange) -> None:
        """Send the files, folders and links of this tree to the guest."""
        await self._send(exchange, b"", self.root)

    async def _send(self, exchange: Exchange, name: bytes, node: ArchiveMember) -> None:
        await exchange.send(node.entry(name))
        if stat.S_ISLNK(node.mode):
            return
        for inner, member in node.members.items():
            await self._send(exchange, inner, member)
        end = node.offset + node.size
        for offset in range(node.offset, end, CHUNK):
            data = os.pread(self._content.fileno(), min(CHUNK, end - offset), offset)
            await exchange.send(files.Data(data=data))
        await exchange.send(files.Whole())

    def _add(self, archive: tarfile.TarFile, member: tarfile.TarInfo) -> None:
        parts = _parts(member.name)
        node = self._node(archive, member)
        if node is None:
            self._limits.count(self._path, files=1, names=len(member.name))
            self.left_out.append(member.name)
            return
        if not parts:
            if not stat.S_ISDIR(node.mode):
                raise _invalid(f"{member.name!r} is the name of a folder")
            self.root.mode, self.root.mtime = node.mode, node.mtime
            return
        folder = self._folder(parts[:-1], member.name)
        before = folder.members.get(parts[-1])
        if before is not None and stat.S_ISDIR(before.mode) and stat.S_ISDIR(node.mode):
            before.mode, before.mtime = node.mode, node.mtime
            return
        self._put(folder, parts[-1], node)

    def _node(self, archive: tarfile.TarFile, member: tarfile.TarInfo) -> ArchiveMember | None:
        """Return the `ArchiveMember` for a member of a tar archive; None if it is skipped."""
        if not 0 <= member.mode < _MODES_END:
            raise _invalid(f"{member.name!r} has an invalid mode")
        mode, mtime = stat.S_IMODE(member.mode), _nanoseconds(member.mtime)
        if member.isdir():
            return ArchiveMember(stat.S_IFDIR | mode, mtime)
        if member.issym():
            return ArchiveMember(stat.S_IFLNK | 0o777, mtime, target=_bytes(member.linkname))
        if member.islnk():
            return self._linked(member)
        if not member.isreg():
            return None
        content = archive.extractfile(member)
        assert content is not None  # noqa: S101 - it is a file
        offset = self._end
        while data := content.read(CHUNK):
            self._limits.count(self._path, size=len(data))
            self._content.write(data)
            self._end += len(data)
        return ArchiveMember(stat.S_IFREG | mode, mtime, offset=offset, size=self._end - offset)

    def _linked(self, member: tarfile.TarInfo) -> ArchiveMember:
        """Return the `ArchiveMember` for a hard link, which becomes a copy of the linked file."""
        node: ArchiveMember | None = self.root
        for part in _parts(member.linkname):
            node = node.members.get(part) if node is not None else None
        if node is None or not stat.S_ISREG(node.mode):
            raise _invalid(
                f"{member.name!r} links to {member.linkname!r}, which is no earlier file"
            )
        self._limits.count(self._path, size=node.size)
        return ArchiveMember(node.mode, node.mtime, offset=node.offset, size=node.size)

    def _folder(self, parts: list[bytes], name: str) -> ArchiveMember:
        if len(parts) >= files.MAX_DEPTH:
            raise _invalid(f"its folders are nested more than {files.MAX_DEPTH} deep")
        folder = self.root
        for part in parts:
            if part not in folder.members:
                self._put(folder, part, ArchiveMember(stat.S_IFDIR | _NEW_FOLDER))
            folder = folder.members[part]
            if not stat.S_ISDIR(folder.mode):
                raise _invalid(f"a part of the path {name!r} is no folder in it")
        return folder

    def _put(self, folder: ArchiveMember, name: bytes, node: ArchiveMember) -> None:
        message = node.entry(name)
        try:
            message.encode()
        except files.EncodeError as error:
            raise _invalid(f"{os.fsdecode(name)!r} cannot be sent: {error}") from None
        self._limits.take(self._path, message)
        folder.members[name] = node


class _ArchiveReader:
    """A forward-only reader of an archive, for tarfile. It limits the archive's unpacked size."""

    def __init__(self, archive: BinaryIO, limit: int) -> None:
        """Create a reader for an archive that may have at most `limit` bytes after unpacking."""
        first = archive.read(tarfile.BLOCKSIZE)
        source = _Prefixed(first, archive)
        opener = next(
            (opener for magic, opener in _DECOMPRESSORS.items() if first.startswith(magic)), None
        )
        self.last = b""
        self._source = source if opener is None else opener(source)
        self._position = 0
        self._limit = limit

    def tell(self) -> int:
        return self._position

    def seek(self, position: int) -> None:
        while position > self._position:
            if not self.read(min(position - self._position, _PIECE)):
                raise _invalid("it is cut short")
        if position < self._position:
            raise _invalid("a header points back")

    def read(self, size: int) -> bytes:
        if size > _PIECE:
            raise _invalid("the header of a member, such as its name, is too long")
        data = bytearray()
        while len(data) < size and (piece := self._source.read(size - len(data))):
            data += piece
        self.last = bytes(data)
        self._position += len(self.last)
        if self._position > self._limit:
            raise _invalid("it is much longer than the files in it")
        return self.last


def _check_globals(archive: tarfile.TarFile) -> None:
    """Refuse long global headers of an archive, because tarfile copies them for each member."""
    if sum(len(key) + len(value) for key, value in archive.pax_headers.items()) > _GLOBALS:
        raise _invalid(f"its global headers have more than {_GLOBALS} bytes")


class _Prefixed:
    """A reader that first returns bytes read earlier from a file, and then the rest of the file."""

    def __init__(self, first: bytes, rest: BinaryIO) -> None:
        self._first = first
        self._rest = rest

    def read(self, size: int = -1) -> bytes:
        if not self._first:
            return self._rest.read(size)
        piece, self._first = self._first[:size], self._first[size:]
        return piece


# The first bytes of compressed archives, and the functions that decompress them.
_DECOMPRESSORS: dict[bytes, Callable[[Any], Any]] = {
    b"\x1f\x8b": lambda file: gzip.GzipFile(fileobj=file),
    b"BZh": bz2.BZ2File,
    b"\xfd7zXZ\0": lzma.LZMAFile,
}


def write(path: Path, name: str, archive: BinaryIO) -> None:
    """Write the file or folder `path` of the host to an archive, under the name `name`.

    :param name: Name of the file or folder in the archive; empty for the folder that contains
        everything.
    """

    def owned_by_root(member: tarfile.TarInfo) -> tarfile.TarInfo:
        # The archive must not disclose which user of the host owns the files, so all members
        # belong to root.
        member.uid = member.gid = 0
        member.uname = member.gname = "root"
        return member

    with tarfile.open(
        fileobj=archive,
        mode="w|",
        format=tarfile.GNU_FORMAT,  # the GNU format allows any bytes in the names of files
        encoding="utf-8",
        errors="surrogateescape",
    ) as members:
        members.add(path, name or ".", filter=owned_by_root)


@contextmanager
def _reading() -> Iterator[None]:
    try:
        yield
    # A MicroVMError is raised unchanged. Some MicroVMErrors are ValueErrors, so this clause must
    # precede the clause for ValueError.
    except MicroVMError:
        raise
    # errors of tarfile for an invalid number in the archive
    except (ValueError, OverflowError):
        raise _invalid("the header of a member contains an invalid number") from None
    except (tarfile.TarError, EOFError, lzma.LZMAError, zlib.error, RecursionError) as error:
        raise _invalid(str(error)) from None
    except OSError as error:
        if error.errno is not None:
            raise
        # An error of the decompressor, which means that the data is damaged.
        raise _invalid(str(error)) from None


def _parts(name: str) -> list[bytes]:
    """Return the components of a member's path. The path must not lead out of the archive."""
    parts = [part for part in _bytes(name).split(b"/") if part not in (b"", b".")]
    if b".." in parts:
        raise _invalid(f"{name!r} leads out of it")
    return parts


def _bytes(text: str) -> bytes:
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        raise _invalid(f"{text!r} is not a valid name") from None


def _nanoseconds(seconds: float) -> int:
    # The number of seconds in an archive may be NaN, "not a number", for which both `<` and `>=`
    # are false. So `not <` replaces NaN by the current time, too, but `>=` would not.
    if not abs(seconds) < _SECONDS_END:
        return files.NOW
    return int(seconds * 1e9) if isinstance(seconds, float) else seconds * 1_000_000_000


def _invalid(reason: str) -> UsageError:
    return UsageError(f"cannot read the archive: {reason}")

"""Archives of `tar`: what is in one is put into a guest, and what a guest has comes as one.

An archive may mean harm, as may a guest. The names in one that goes in never touch a file system of
ours: it is read into a tree in memory, its content into a file without a name, and nothing is sent
before it has been read to its end. One that comes out is made of what `files.get` has brought, all
of it.
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

_PIECE = 1 << 20  # the most of it that is read at a time; so much may tell of one member
_OVERHEAD, _MEMBER_OVERHEAD = 1 << 20, 1 << 12  # bytes beside what is in files

_GLOBALS = 4 << 10  # the maximum size of the global headers, in bytes

_MODES_END = 1 << 32
_SECONDS_END = 1 << 33  # of what nanoseconds there are in 63 bits


@dataclass(slots=True)
class ArchiveMember:
    """A file, a folder or a link of an archive.

    :ivar mode: its type and permissions.
    :ivar mtime: in nanoseconds.
    :ivar at: where a file's content is; `size` is how much there is of it.
    :ivar members: what is in a folder, by name.
    """

    mode: int
    mtime: int = files.NOW
    at: int = 0
    size: int = 0
    target: bytes = b""
    members: dict[bytes, ArchiveMember] = field(default_factory=dict)

    def entry(self, name: bytes) -> files.Entry:
        """Return the message that it begins with."""
        return entry(self.mode, name, size=self.size, mtime=self.mtime, target=self.target)


class ArchiveTree:
    """The tree of what is in an archive; use it as a context manager.

    :ivar root: the folder that all of it is in.
    :ivar left_out: the names of devices and FIFOs, which are not in it.
    """

    def __init__(self, path: str, limits: TransferLimits) -> None:
        """Prepare an empty one.

        :param path: where it is to go, for messages.
        """
        self.root = ArchiveMember(stat.S_IFDIR | _NEW_FOLDER)
        self.left_out: list[str] = []
        self._path = path
        self._limits = limits
        self._content = tempfile.TemporaryFile()  # noqa: SIM115 - closed with this
        self._end = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._content.close()

    def read(self, archive: BinaryIO) -> None:
        """Read an archive, compressed or not, up to its end.

        :raises UsageError: it is none, is damaged, is cut short, or leads elsewhere.
        :raises FileError: there is more in it than may come.
        :raises OSError: of Python's own: it cannot be read, or this disk is full.
        """
        with _reading():
            most = self._limits.size + _OVERHEAD + _MEMBER_OVERHEAD * self._limits.files
            stream: Any = _ArchiveReader(archive, most)
            with tarfile.TarFile(
                fileobj=stream, encoding="utf-8", errors="surrogateescape"
            ) as members:
                for member in members:
                    # tarfile collects the members for a second reading, so we empty its list to
                    # bound the memory.
                    members.members = []  # type: ignore[attr-defined]
                    _check_globals(members)
                    self._add(members, member)
            # To tarfile, whatever is no header is an end; an end is a block of zeros.
            if len(stream.last) < tarfile.BLOCKSIZE or any(stream.last):
                raise _wrong("it is cut short, or damaged")
        self._content.flush()

    async def send(self, exchange: Exchange) -> None:
        """Send it.

        :raises FileError: the guest does not take it.
        """
        await self._send(exchange, b"", self.root)

    async def _send(self, exchange: Exchange, name: bytes, node: ArchiveMember) -> None:
        await exchange.send(node.entry(name))
        if stat.S_ISLNK(node.mode):
            return
        for inner, member in node.members.items():
            await self._send(exchange, inner, member)
        for at in range(node.at, node.at + node.size, CHUNK):
            size = min(CHUNK, node.at + node.size - at)
            await exchange.send(files.Data(data=os.pread(self._content.fileno(), size, at)))
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
                raise _wrong(f"{member.name!r} is the name of a folder")
            self.root.mode, self.root.mtime = node.mode, node.mtime
            return
        folder = self._folder(parts[:-1], member.name)
        before = folder.members.get(parts[-1])
        if before is not None and stat.S_ISDIR(before.mode) and stat.S_ISDIR(node.mode):
            before.mode, before.mtime = node.mode, node.mtime
            return
        self._put(folder, parts[-1], node)

    def _node(self, archive: tarfile.TarFile, member: tarfile.TarInfo) -> ArchiveMember | None:
        """Make a node of a member; None for what is left out, a device or the like."""
        if not 0 <= member.mode < _MODES_END:
            raise _wrong(f"{member.name!r} has a mode that cannot be")
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
        at = self._end
        while data := content.read(CHUNK):
            self._limits.count(self._path, size=len(data))
            self._content.write(data)
            self._end += len(data)
        return ArchiveMember(stat.S_IFREG | mode, mtime, at=at, size=self._end - at)

    def _linked(self, member: tarfile.TarInfo) -> ArchiveMember:
        """Another name of a file becomes another file."""
        node: ArchiveMember | None = self.root
        for part in _parts(member.linkname):
            node = node.members.get(part) if node is not None else None
        if node is None or not stat.S_ISREG(node.mode):
            raise _wrong(f"{member.name!r} is a name of {member.linkname!r}, no file before it")
        self._limits.count(self._path, size=node.size)
        return ArchiveMember(node.mode, node.mtime, at=node.at, size=node.size)

    def _folder(self, parts: list[bytes], name: str) -> ArchiveMember:
        if len(parts) >= files.MAX_DEPTH:
            raise _wrong(f"it has more than {files.MAX_DEPTH} folders within each other")
        folder = self.root
        for part in parts:
            if part not in folder.members:
                self._put(folder, part, ArchiveMember(stat.S_IFDIR | _NEW_FOLDER))
            folder = folder.members[part]
            if not stat.S_ISDIR(folder.mode):
                raise _wrong(f"{name!r} leads through what is no folder in it")
        return folder

    def _put(self, folder: ArchiveMember, name: bytes, node: ArchiveMember) -> None:
        message = node.entry(name)
        try:
            message.encode()
        except files.EncodeError as error:
            raise _wrong(f"{os.fsdecode(name)!r} cannot be sent: {error}") from None
        self._limits.take(self._path, message)
        folder.members[name] = node


class _ArchiveReader:
    """What tarfile reads an archive from: forward only, and no further than may be.

    :ivar last: what was read last.
    """

    def __init__(self, archive: BinaryIO, most: int) -> None:
        """Begin at an archive's beginning; `most` is how many bytes it may have, unpacked."""
        first = archive.read(tarfile.BLOCKSIZE)
        source = _Prefixed(first, archive)
        opener = next(
            (opener for magic, opener in _PACKED.items() if first.startswith(magic)), None
        )
        self.last = b""
        self._source = source if opener is None else opener(source)
        self._at = 0
        self._most = most

    def tell(self) -> int:
        return self._at

    def seek(self, position: int) -> None:
        while position > self._at:
            if not self.read(min(position - self._at, _PIECE)):
                raise _wrong("it is cut short")
        if position < self._at:
            raise _wrong("it leads back")

    def read(self, size: int) -> bytes:
        if size > _PIECE:
            raise _wrong("a name in it, or what else it says of a file, is too long")
        self.last = _read(self._source, size)
        self._at += len(self.last)
        if self._at > self._most:
            raise _wrong("it is much longer than what is in it")
        return self.last


def _check_globals(archive: tarfile.TarFile) -> None:
    """Refuse long global headers, because tarfile reads all of them again for each member."""
    if sum(len(key) + len(value) for key, value in archive.pax_headers.items()) > _GLOBALS:
        raise _wrong(f"its global headers have more than {_GLOBALS} bytes")


def _read(file: Any, size: int) -> bytes:
    """Return so many bytes, or what there is up to the end."""
    pieces = []
    while size > 0 and (piece := file.read(size)):
        pieces.append(piece)
        size -= len(piece)
    return b"".join(pieces)


class _Prefixed:
    """A file, the first of which has been read already."""

    def __init__(self, first: bytes, rest: BinaryIO) -> None:
        self._first = first
        self._rest = rest

    def read(self, size: int = -1) -> bytes:
        if not self._first:
            return self._rest.read(size)
        piece, self._first = self._first[:size], self._first[size:]
        return piece


# What packed archives begin with.
_PACKED: dict[bytes, Callable[[Any], Any]] = {
    b"\x1f\x8b": lambda file: gzip.GzipFile(fileobj=file),
    b"BZh": bz2.BZ2File,
    b"\xfd7zXZ\0": lzma.LZMAFile,
}


def write(path: Path, name: str, archive: BinaryIO) -> None:
    """Write a file or a folder of ours as an archive.

    :param name: what it is to be called in there; empty for the folder that all is in.
    :raises OSError: of Python's own: it cannot be written.
    """

    def root_s(member: tarfile.TarInfo) -> tarfile.TarInfo:
        member.uid = member.gid = 0  # here it is ours, which is nobody's business
        member.uname = member.gname = "root"
        return member

    with tarfile.open(
        fileobj=archive,
        mode="w|",
        format=tarfile.GNU_FORMAT,  # names are bytes there
        encoding="utf-8",
        errors="surrogateescape",
    ) as members:
        members.add(path, name or ".", filter=root_s)


@contextmanager
def _reading() -> Iterator[None]:
    try:
        yield
    except MicroVMError:  # some are ValueErrors, too
        raise
    except (ValueError, OverflowError):  # of tarfile, for a number that is none
        raise _wrong("what it says of a file cannot be") from None
    except (tarfile.TarError, EOFError, lzma.LZMAError, zlib.error, RecursionError) as error:
        raise _wrong(str(error)) from None
    except OSError as error:
        if error.errno is not None:
            raise
        raise _wrong(str(error)) from None  # of what unpacks it


def _parts(name: str) -> list[bytes]:
    """Return the names on the way to a member, which is within the archive."""
    parts = [part for part in _bytes(name).split(b"/") if part not in (b"", b".")]
    if b".." in parts:
        raise _wrong(f"{name!r} leads out of it")
    return parts


def _bytes(text: str) -> bytes:
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        raise _wrong(f"{text!r} is no name") from None


def _nanoseconds(seconds: float) -> int:
    if not abs(seconds) < _SECONDS_END:  # nor is that what is no number
        return files.NOW
    return int(seconds * 1e9) if isinstance(seconds, float) else seconds * 1_000_000_000


def _wrong(what: str) -> UsageError:
    return UsageError(f"this archive cannot be taken: {what}")

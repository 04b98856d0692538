"""The layers from which a root file system is built: tar archives, and files of the host."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import tarfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Protocol

from microvm import cache
from microvm.errors import ImageError
from microvm.system import platform
from microvm.system.capacity import SHORTAGES
from microvm_image.compression import DAMAGED, unpacked
from microvm_image.file_range import FileRange
from microvm_image.limits import MTIME_END, Budget
from microvm_image.node import FileNode, Folder, HardLink

Member = tuple[str, FileNode | HardLink]
"""A file or hard link of a layer, with its path from the root, as the layer spells the path."""

# Maximum size in bytes of the headers of one file in a tar archive. They contain its extended
# attributes, of which Linux allows 64 KiB each.
_HEADERS = 512 << 10
# maximum size in bytes of an archive's global headers, which tarfile copies again for each file
_GLOBALS = 4 << 10
_INODE = 4096  # approximate size of a file's metadata on the host's disk, in bytes
_ID_END = 0xFFFFFFFF  # no valid user or group id, because chown(2) reads it as -1
_XATTR = "SCHILY.xattr."
_XATTR_KINDS = ("user.", "trusted.", "security.", "system.posix_acl_")
_OVERLAY = ("trusted.overlay.", "user.overlay.")
"""Prefixes of the extended attributes that are kept, and of those that are dropped nevertheless,
because they would affect the overlay file system of the guest."""


class Layer(Protocol):
    """A layer of a root file system: files to add, and whiteouts (marks of files to remove)."""

    @property
    def name(self) -> str:
        """Name of the layer, for messages."""

    def members(self, files: ExitStack, budget: Budget) -> Iterator[Member]:
        """Open the layer until `files` closes it, and yield its files within the limits `budget`.

        Folders and links are also yielded, all in the layer's order. Their number and sizes
        are subtracted from `budget`. Contents are read later, while `files` keeps the layer open.

        :raises ImageError: The layer is damaged or too large, or differs from its digest.
        """


@dataclass(frozen=True, slots=True)
class TarLayer:
    """A layer that is a tar archive, plain or compressed by gzip, xz, zstd or bzip2.

    :ivar open: A function that opens the archive as it is stored.
    :ivar digest: The SHA-256 that the stored archive must have; "" for any.
    :ivar diff_id: The SHA-256 that the decompressed archive must have; "" for any.
    :ivar is_whole: True if the archive is known to be complete, so that it needs no end marker.
    :ivar is_packed_here: True if microvm has compressed the archive, so that any ratio is allowed.
    """

    name: str
    open: Callable[[ExitStack], FileRange]
    digest: str = ""
    diff_id: str = ""
    is_whole: bool = False
    is_packed_here: bool = False

    def members(self, files: ExitStack, budget: Budget) -> Iterator[Member]:
        """Open the archive until `files` closes it, and yield its files within the limits `budget`.

        The contents of the files are not read yet.
        """
        packed = self.open(files)
        check_digest(packed, self.digest, self.name)
        archive = unpacked(
            packed,
            self.name,
            files,
            budget,
            key=self.digest or self.diff_id,
            any_ratio=self.is_packed_here,
        )
        if self.diff_id != self.digest or archive is not packed:
            check_digest(archive, self.diff_id, self.name)
        is_whole = self.is_whole or bool(self.digest or self.diff_id)
        return _tar_members(archive, self.name, is_whole=is_whole)


def check_digest(extent: FileRange, digest: str, name: str) -> None:
    """Check that the bytes of `extent` have the SHA-256 `digest`; do nothing if `digest` is "".

    :raises ImageError: The file range has another SHA-256.
    """
    if digest and (actual := sha256(extent)) != digest:
        raise ImageError(
            f"{name}: wrong digest: its SHA-256 is {actual}, not {digest}",
            hint=DAMAGED,
        )


def sha256(extent: FileRange) -> str:
    """Return the SHA-256 of a range of bytes in a file, in hex."""
    digest = hashlib.sha256()
    for chunk in extent.chunks():
        digest.update(chunk)
    return digest.hexdigest()


class _Headers:
    """A file object from which `tarfile` reads an archive. It limits the size of the headers."""

    def __init__(self, archive: FileRange) -> None:
        self._archive = archive
        self._position = 0
        self.remaining = _HEADERS
        self.last = b""

    def read(self, size: int) -> bytes:
        self.remaining -= size
        if size < 0 or self.remaining < 0:
            raise tarfile.ReadError("the headers of a member are too long")
        self.last = self._archive.read(self._position, size)
        self._position += len(self.last)
        return self.last

    def seek(self, position: int) -> int:
        if position < 0:
            raise tarfile.ReadError("a member begins before the archive")
        self._position = position
        return position

    def tell(self) -> int:
        return self._position


def _tar_members(archive: FileRange, name: str, *, is_whole: bool) -> Iterator[Member]:
    end = 0
    try:
        headers = _Headers(archive)
        with tarfile.open(
            fileobj=headers,  # type: ignore[call-overload]
            mode="r:",
            encoding="utf-8",
            errors="surrogateescape",
        ) as tar:
            # `tarfile.open` has already read the first header. If it found none, the archive is
            # empty.
            is_empty = tar.firstmember is None
            while not is_empty and (info := tar.next()) is not None:
                # delete the list in which tarfile would keep all members in memory
                tar.members = []
                headers.remaining = _HEADERS
                if sum(len(key) + len(value) for key, value in tar.pax_headers.items()) > _GLOBALS:
                    raise tarfile.ReadError(f"its global headers have more than {_GLOBALS} bytes")
                if info.offset < end:
                    raise tarfile.ReadError("a member lies in another")
                end = info.offset_data
                if info.isreg():
                    end += info.size
                    if info.size < 0 or end > archive.size:
                        raise tarfile.ReadError("it is cut short")
                yield info.name, _member(info, archive)
        # tarfile treats any invalid header as the end of the archive. Accept only zeros as the end.
        if headers.last.strip(b"\0") or not (headers.last or is_whole):
            raise tarfile.ReadError("it is cut short, or no tar archive")
    except (tarfile.TarError, ValueError, ArithmeticError, LookupError, RecursionError) as error:
        raise ImageError(f"{name}: damaged archive: {error}", hint=DAMAGED) from error


def _member(info: tarfile.TarInfo, archive: FileRange) -> FileNode | HardLink:
    if info.islnk():
        return HardLink(info.linkname)
    if info.sparse is not None:
        raise tarfile.ReadError(f"{info.name} is stored as a sparse file, which is not supported")
    if info.isreg():
        kind = stat.S_IFREG
    elif info.isdir():
        kind = stat.S_IFDIR
    elif info.issym():
        kind = stat.S_IFLNK
    elif info.ischr():
        kind = stat.S_IFCHR
    elif info.isblk():
        kind = stat.S_IFBLK
    elif info.isfifo():
        kind = stat.S_IFIFO
    else:
        raise tarfile.ReadError(f"{info.name} has the unknown type {info.type!r}")
    if not (0 <= info.uid < _ID_END and 0 <= info.gid < _ID_END):
        raise tarfile.ReadError(f"{info.name} has an invalid owner")
    device = (info.devmajor, info.devminor) if kind in {stat.S_IFCHR, stat.S_IFBLK} else (0, 0)
    # Linux's limits of device numbers: 12 bits for the major number, 20 bits for the minor
    if not (0 <= device[0] < 1 << 12 and 0 <= device[1] < 1 << 20):
        raise tarfile.ReadError(f"{info.name} is a device with an invalid number")
    return (Folder if kind == stat.S_IFDIR else FileNode)(
        kind | info.mode & 0o7777,
        info.uid,
        info.gid,
        max(0, min(int(info.mtime), MTIME_END)),
        device,
        info.linkname if kind == stat.S_IFLNK else "",
        _xattrs(
            (key.removeprefix(_XATTR), value.encode("utf-8", "surrogateescape"))
            for key, value in info.pax_headers.items()
            if key.startswith(_XATTR)
        ),
        archive.part(info.offset_data, info.size) if kind == stat.S_IFREG else None,
    )


def _xattrs(pairs: Iterable[tuple[str, bytes]]) -> tuple[tuple[str, bytes], ...]:
    return tuple(
        sorted(
            (name, value)
            for name, value in pairs
            if name.startswith(_XATTR_KINDS) and not name.startswith(_OVERLAY)
        )
    )


@dataclass(frozen=True, slots=True)
class NodeLayer:
    """A layer whose files are already in memory, as `FileNode` objects."""

    name: str
    nodes: Mapping[str, FileNode]

    def members(self, files: ExitStack, budget: Budget) -> Iterator[Member]:
        """Yield the files of the layer from memory. Both parameters are unused."""
        yield from self.nodes.items()


@dataclass(frozen=True, slots=True)
class HostData:
    """The content of a file of the host. The file must not change until it is read.

    :ivar stamp: The size of the file, and the times of its last write and last change in
        nanoseconds.
    """

    path: Path
    stamp: tuple[int, int, int]

    @property
    def size(self) -> int:
        """Size of the host's file in bytes."""
        return self.stamp[0]

    def check_readable(self) -> None:
        """Check that this process may read the file, without opening it.

        :raises ImageError: The file cannot be read.
        """
        if not os.access(self.path, os.R_OK, effective_ids=True):
            reason = OSError(errno.EACCES, os.strerror(errno.EACCES), os.fspath(self.path))
            raise unreadable(self.path, reason)

    def chunks(self) -> Iterator[bytes]:
        """Yield the content in chunks of up to 1 MiB.

        :raises ImageError: The file cannot be read, or has changed since it was listed.
        """
        try:
            descriptor = cache.open_plain(
                self.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
            )
        except OSError as error:
            raise unreadable(self.path, error) from error
        try:
            if stamp(os.fstat(descriptor)) != self.stamp:
                raise ImageError(f"{self.path} has changed while the image was built")
            yield from FileRange(descriptor, 0, self.size).chunks()
        except OSError as error:
            raise unreadable(self.path, error) from error
        finally:
            os.close(descriptor)


def stamp(status: os.stat_result) -> tuple[int, int, int]:
    """Return the `stamp` of the `HostData` of a file, given the file's status."""
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns


@dataclass(frozen=True, slots=True)
class HostLayer:
    """A layer that is a file or folder of the host, with everything in it.

    Files of the user who builds the image, or of their group, belong to root in the layer. Symbolic
    links are kept and not followed. Sockets are left out.

    :ivar path: The path of the file or folder.
    :ivar destination: The path in the image; "" for its root folder.
    """

    path: Path
    destination: str = ""

    @property
    def name(self) -> str:
        """Path of the file or folder on the host."""
        return str(self.path)

    def members(self, files: ExitStack, budget: Budget) -> Iterator[Member]:
        """Yield the host's files and folders within the limits `budget`; `files` is unused.

        They are sorted by name, each folder before its content.
        """
        seen: dict[tuple[int, int], str] = {}
        stack = [iter([(self.path, self.destination)])]
        while stack:
            if (found := next(stack[-1], None)) is None:
                stack.pop()
                continue
            path, inside = found
            try:
                status = path.lstat()
                if stat.S_ISSOCK(status.st_mode):
                    continue
                if status.st_nlink > 1 and not stat.S_ISDIR(status.st_mode):
                    inode = status.st_dev, status.st_ino
                    if inode in seen:
                        yield inside, HardLink(seen[inode])
                        continue
                    seen[inode] = inside
                node = _host_node(path, status)
                budget.take_stored(node.size + _INODE)
                budget.take_bytes(node.size)
                yield inside, node
                if isinstance(node, Folder):
                    stack.append(_children(path, inside, budget.limits.members))
            except OSError as error:
                raise unreadable(path, error) from error


def unreadable(path: Path, error: OSError) -> ImageError:
    """Return the error for a file or folder of the host that cannot be read."""
    forbidden = error.errno in {errno.EACCES, errno.EPERM}
    own = "make it readable for your user, or leave it out of the image" if forbidden else ""
    return ImageError(
        f"{error.filename or path}: cannot read it: {error.strerror or error}",
        hint=SHORTAGES.get(error.errno or 0) or own,
    )


def _children(path: Path, destination: str, most: int) -> Iterator[tuple[Path, str]]:
    """Yield up to `most` + 1 entries of the host's folder `path`, sorted, with their destinations.

    A destination is a path in the image. The caller refuses a folder with more than `most` entries.
    """
    with os.scandir(path) as entries:
        names = sorted((entry.name for entry in islice(entries, most + 1)), key=os.fsencode)
    return ((path / name, f"{destination}/{name}".lstrip("/")) for name in names)


def _host_node(path: Path, status: os.stat_result) -> FileNode:
    kind = stat.S_IFMT(status.st_mode)
    is_device = kind in {stat.S_IFCHR, stat.S_IFBLK}
    return (Folder if kind == stat.S_IFDIR else FileNode)(
        status.st_mode,
        0 if status.st_uid == os.geteuid() else status.st_uid,
        0 if status.st_gid == os.getegid() else status.st_gid,
        max(0, int(status.st_mtime)),
        (os.major(status.st_rdev), os.minor(status.st_rdev)) if is_device else (0, 0),
        os.readlink(path) if kind == stat.S_IFLNK else "",  # noqa: PTH115 -- Path changes the text
        _xattrs(platform.attributes(path, _XATTR_KINDS)),
        HostData(path, stamp(status)) if kind == stat.S_IFREG else None,
    )

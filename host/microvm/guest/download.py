"""An download is a tree of files that comes from a guest, and is kept apart until it is whole.

A guest may be hostile, so a tree can say nothing but what is in it: where it is put, and under
which name, is said by the host alone. It is written into a fresh folder, on the same file system as
its place, by descriptors of the folders on the way; no link is followed, since those are made last.
What is kept of a mode is what Python's `tarfile` keeps by its filter `data`.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from errno import EBADMSG, ENAMETOOLONG
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import Self

from microvm.concurrency.threads import check_stopped, in_stoppable_thread, in_thread
from microvm.errors import FileError, MicroVMError
from microvm.guest.staging import StagingFolder
from microvm.system.private import FOLDER
from microvm.wire import files

_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_ROOT = "tree"

# The paths of so many links that are left out are kept: each may have 32 KiB.
_SHOWN = 100


@dataclass(frozen=True, slots=True)
class Received:
    """What has come from a guest.

    :ivar path: where it is.
    :ivar files: how many files, folders and links there are.
    :ivar size: how many bytes the files have.
    :ivar left_out: the links that lead out of the tree, which are not there: the first hundred, by
        their paths in it.
    :ivar left_out_count: how many those are in all.
    """

    path: Path
    files: int
    size: int
    left_out: tuple[str, ...]
    left_out_count: int


@dataclass(frozen=True, slots=True, eq=False)
class _Folder:
    """A folder of the tree, known by the one that it is in, so that a deep one takes little."""

    name: str
    parent: _Folder | None
    depth: int

    def names(self) -> list[str]:
        """The names of the folders down to it, of which the first is the tree's root."""
        above = self.parent.names() if self.parent else []
        return [*above, self.name]


@dataclass(frozen=True, slots=True)
class _Link:
    """A symbolic link that has come; it is made when all else is there."""

    folder: _Folder
    name: str
    target: bytes


class Download:
    """A tree that arrives; use it as a context manager, which removes what has not been settled.

    What takes long for a tree of many files is done in threads, so that others in the event loop
    have their turn.
    """

    def __init__(self, source: str, destination: Path) -> None:
        """Prepare a place for it: in its destination, if that is a folder, or else beside it.

        :param source: its path in the guest, for messages.
        :param destination: what it is to become; if it is a folder, what it is to be merged into.
        :raises OSError: of Python's, with our path: there cannot be one.
        """
        self._source = source
        self._destination = destination
        # A destination may be a mount, or in a folder that we may not write to.
        self._parent = destination if destination.is_dir() else destination.parent
        self._place = StagingFolder(self._parent)
        # Of the folders on the way, only the innermost is open.
        self._descriptor = self._place.descriptor
        self._folder: _Folder | None = None
        self._links: list[_Link] = []
        self._left_out: list[str] = []
        self._left_out_count = 0
        self._file: tuple[int, files.Entry] | None = None
        self._count = self._size = 0

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._file is not None:
            os.close(self._file[0])
        self._enter(self._place.descriptor)
        try:
            await in_thread(self._place.remove)
        except MicroVMError:  # there are no more threads
            self._place.remove()

    @property
    def is_whole(self) -> bool:
        """Whether something has come, and all of it."""
        return self._count > 0 and self._file is None and self._folder is None

    def add(self, message: files.Entry | files.Data | files.Whole) -> None:
        """Write what a message says.

        :raises FileError: it is out of place, or leads elsewhere.
        :raises OSError: of Python's, with our path: it cannot be written.
        """
        match message:
            case files.Entry():
                self._begin(message)
            case files.Data() if self._file is not None:
                self._size += len(message.data)
                self._write(self._file[0], memoryview(message.data))
            case files.Whole() if self._file is not None:
                self._end_file(*self._file)
            case files.Whole() if self._folder is not None:
                self._leave(self._folder)
            case _:
                raise self._hostile("what is sent has no beginning")

    def _begin(self, entry: files.Entry) -> None:
        if self._file is not None or self.is_whole:
            raise self._hostile("a file begins within another")
        name = name_of(entry, self._source) if self._count else _ROOT
        self._count += 1
        shown = "it" if self._count == 1 else repr(name)
        try:
            match stat.S_IFMT(entry.mode):
                case stat.S_IFREG:
                    self._file = os.open(name, _NEW_FILE, 0o600, dir_fd=self._descriptor), entry
                case stat.S_IFDIR:
                    self._begin_folder(name)
                case stat.S_IFLNK if self._folder is not None:
                    self._begin_link(_Link(self._folder, name, entry.target))
                case _:
                    raise self._hostile(f"{shown} is neither a file, a folder nor a link")
        except FileExistsError:
            raise self._hostile(f"{name!r} comes twice") from None
        except FileError:
            raise
        except OSError as error:
            raise self._ours(error) from None

    def _begin_folder(self, name: str) -> None:
        depth = self._folder.depth + 1 if self._folder else 1
        if depth > files.MAX_DEPTH:
            message = (
                f"{self._source}: it has more than {files.MAX_DEPTH} folders within each other"
            )
            raise FileError(ENAMETOOLONG, self._source, message)
        os.mkdir(name, 0o755, dir_fd=self._descriptor)
        self._enter(os.open(name, FOLDER, dir_fd=self._descriptor))
        self._folder = _Folder(name, self._folder, depth)

    def _leave(self, folder: _Folder) -> None:
        try:
            above = os.open("..", FOLDER, dir_fd=self._descriptor)
        except OSError as error:
            raise self._ours(error) from None
        self._enter(above)
        self._folder = folder.parent

    def _enter(self, descriptor: int) -> None:
        if self._descriptor != self._place.descriptor:
            os.close(self._descriptor)
        self._descriptor = descriptor

    def _begin_link(self, link: _Link) -> None:
        if _stays_inside(link.target, link.folder.depth - 1):
            self._links.append(link)
            return
        self._left_out_count += 1
        if self._left_out_count <= _SHOWN:
            self._left_out.append("/".join((*link.folder.names()[1:], link.name)))

    def _write(self, descriptor: int, data: memoryview) -> None:
        try:
            while data:
                data = data[os.write(descriptor, data) :]
        except OSError as error:
            raise self._ours(error) from None

    def _end_file(self, descriptor: int, entry: files.Entry) -> None:
        mode = entry.mode & 0o755 | 0o600
        os.fchmod(descriptor, mode if mode & 0o100 else mode & ~0o111)
        with suppress(OSError, OverflowError):  # a time that this file system does not have
            os.utime(descriptor, ns=(entry.mtime, entry.mtime))
        os.close(descriptor)
        self._file = None

    async def settle(self) -> Received:
        """Put what is whole where it belongs; folders that are there get what they lack.

        :raises FileError: a link comes twice.
        :raises OSError: of Python's, with our path: something is there that cannot be replaced.
        """
        return await in_stoppable_thread(self._settle)

    def _settle(self) -> Received:
        for folder, links in groupby(self._links, attrgetter("folder")):
            self._make_links(folder, links)
        self._place.move(_ROOT, self._destination)
        return Received(
            self._destination,
            self._count - self._left_out_count,
            self._size,
            tuple(self._left_out),
            self._left_out_count,
        )

    def _make_links(self, folder: _Folder, links: Iterable[_Link]) -> None:
        descriptor = os.dup(self._place.descriptor)
        try:
            for name in folder.names():
                inner = os.open(name, FOLDER, dir_fd=descriptor)
                os.close(descriptor)
                descriptor = inner
            for link in links:
                check_stopped()
                self._make_link(link, descriptor)
        except FileError:
            raise
        except OSError as error:
            raise self._ours(error) from None
        finally:
            os.close(descriptor)

    def _make_link(self, link: _Link, folder: int) -> None:
        try:
            os.symlink(link.target, os.fsencode(link.name), dir_fd=folder)
        except FileExistsError:
            raise self._hostile(f"{link.name!r} comes twice") from None

    def _hostile(self, what: str) -> FileError:
        return _hostile(self._source, what)

    def _ours(self, error: OSError) -> OSError:
        """Return an error of this host's, with the folder that it is about."""
        return OSError(error.errno, error.strerror, str(self._parent))


def name_of(entry: files.Entry, folder: str) -> str:
    """Return the name that something has in its folder, by which nothing else can be meant.

    :param folder: its path in the guest, for messages.
    :raises FileError: it is no name.
    """
    name = os.fsdecode(entry.name)
    if name in ("", ".", "..") or "/" in name:
        raise _hostile(folder, f"{name!r} is no name")
    return name


def _hostile(path: str, what: str) -> FileError:
    return FileError(EBADMSG, path, f"{path}: {what}")


def _stays_inside(target: bytes, depth: int) -> bool:
    """Tell whether a link stays in its tree, `depth` folders below whose root it is.

    What goes up comes first: behind a name, which may be a link itself, nobody knows where up is.
    """
    parts = [part for part in target.split(b"/") if part not in (b"", b".")]
    up = 0
    while up < len(parts) and parts[up] == b"..":
        up += 1
    return bool(target) and target[:1] != b"/" and up <= depth and b".." not in parts[up:]

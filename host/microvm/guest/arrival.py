"""An arrival is a tree of files that comes from a guest, and is kept apart until it is whole.

A guest may be hostile, so a tree can say nothing but what is in it: where it is put, and under
which name, is said by the host alone. It is written into a fresh folder, on the same file system as
its place, by descriptors of the folders on the way; no link is followed, since those are made last.
What is kept of a mode is what Python's `tarfile` keeps by its filter `data`.
"""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from errno import EBADMSG, EFBIG, EISDIR, ENAMETOOLONG
from pathlib import Path
from typing import Self

from microvm.errors import FileError, MicroVMError
from microvm.threads import check_stopped, in_stoppable_thread, in_thread
from microvm.wire import files

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_ROOT = "tree"


@dataclass(frozen=True, slots=True)
class Received:
    """What has come from a guest.

    :ivar path: where it is.
    :ivar files: how many files, folders and links there are.
    :ivar size: how many bytes the files have.
    :ivar left_out: the links that lead out of the tree, by their paths in it, which are not there.
    """

    path: Path
    files: int
    size: int
    left_out: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Link:
    folder: tuple[str, ...]
    name: str
    target: bytes


@dataclass(slots=True)
class Limits:
    """What may still come of a tree.

    :ivar size: in bytes.
    :ivar files: how many files, folders and links.
    """

    size: int
    files: int

    def take(self, path: str, *, size: int = 0, files: int = 0) -> None:
        """Count what has come.

        :raises FileError: it is too much.
        """
        self.size -= size
        self.files -= files
        for left, what in ((self.size, "max_size"), (self.files, "max_files")):
            if left < 0:
                message = f"{path}: there is more of it than may come"
                raise FileError(EFBIG, path, message, hint=f"{what} sets that limit")


class Arrival:
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
        parent = destination if destination.is_dir() else destination.parent
        try:
            self._place = Path(tempfile.mkdtemp(prefix=".microvm-", dir=parent))
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(parent)) from None
        self._folders = [os.open(self._place, _FOLDER)]
        self._names: list[str] = []
        self._links: list[_Link] = []
        self._file: tuple[int, files.Entry] | None = None
        self._count = self._size = 0

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._file is not None:
            os.close(self._file[0])
        for folder in self._folders:
            os.close(folder)
        try:
            await in_thread(shutil.rmtree, self._place, ignore_errors=True)
        except MicroVMError:  # there are no more threads
            shutil.rmtree(self._place, ignore_errors=True)

    @property
    def is_whole(self) -> bool:
        """Whether something has come, and all of it."""
        return self._count > 0 and self._file is None and len(self._folders) == 1

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
            case files.Whole() if len(self._folders) > 1:
                os.close(self._folders.pop())
                self._names.pop()
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
                    self._file = os.open(name, _NEW_FILE, 0o600, dir_fd=self._folders[-1]), entry
                case stat.S_IFDIR:
                    self._check_depth()
                    os.mkdir(name, dir_fd=self._folders[-1])
                    self._folders.append(os.open(name, _FOLDER, dir_fd=self._folders[-1]))
                    self._names.append(name)
                case stat.S_IFLNK if self._count > 1:
                    self._links.append(_Link(tuple(self._names), name, entry.target))
                case _:
                    raise self._hostile(f"{shown} is neither a file, a folder nor a link")
        except FileExistsError:
            raise self._hostile(f"{name!r} comes twice") from None
        except FileError:
            raise
        except OSError as error:
            raise self._ours(error) from None

    def _check_depth(self) -> None:
        if len(self._folders) > files.MAX_DEPTH:
            message = (
                f"{self._source}: it has more than {files.MAX_DEPTH} folders within each other"
            )
            raise FileError(ENAMETOOLONG, self._source, message)

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
        destination = self._destination
        left_out = tuple(self._make_links())
        tree = self._place / _ROOT
        if not destination.is_dir():
            _move(tree, destination)
        elif not tree.is_dir():
            raise IsADirectoryError(EISDIR, os.strerror(EISDIR), str(destination))
        else:
            for move in (False, True):  # what cannot be is found before anything has changed
                _merge(tree, destination, move=move)
        return Received(destination, self._count - len(left_out), self._size, left_out)

    def _make_links(self) -> list[str]:
        left_out = []
        for link in self._links:
            check_stopped()
            if _stays_inside(link.target, len(link.folder) - 1):
                self._make_link(link)
            else:
                left_out.append("/".join((*link.folder[1:], link.name)))
        return left_out

    def _make_link(self, link: _Link) -> None:
        folder = os.dup(self._folders[0])
        try:
            for name in link.folder:
                inner = os.open(name, _FOLDER, dir_fd=folder)
                os.close(folder)
                folder = inner
            os.symlink(link.target, os.fsencode(link.name), dir_fd=folder)
        except FileExistsError:
            raise self._hostile(f"{link.name!r} comes twice") from None
        except OSError as error:
            raise self._ours(error) from None
        finally:
            os.close(folder)

    def _hostile(self, what: str) -> FileError:
        return _hostile(self._source, what)

    def _ours(self, error: OSError) -> OSError:
        """Return an error of this host's, with the folder that it is about."""
        return OSError(error.errno, error.strerror, str(self._place.parent))


def _move(source: Path, destination: Path) -> None:
    try:
        source.replace(destination)
    except OSError as error:  # whose first path is one that nobody knows
        raise OSError(error.errno, error.strerror, str(destination)) from None


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


def _merge(source: Path, destination: Path, *, move: bool) -> None:
    """Move what is in a folder into another, or only see whether that can be done."""
    with os.scandir(source) as entries:
        members = list(entries)
    for member in members:
        check_stopped()
        path = destination / member.name
        folder = member.is_dir(follow_symlinks=False)
        if not os.path.lexists(path):
            if move:
                _move(Path(member.path), path)
        elif folder and (path.is_symlink() or not path.is_dir()):
            raise NotADirectoryError(f"{path} is there, and no folder")
        elif folder:
            _merge(Path(member.path), path, move=move)
        elif path.is_dir() and not path.is_symlink():
            raise IsADirectoryError(f"{path} is there, and a folder")
        elif move:
            _move(Path(member.path), path)

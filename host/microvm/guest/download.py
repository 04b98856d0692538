"""The download of files and folders from a guest into a staging folder on the host.

The guest may be hostile, so it can choose only the content of the downloaded tree. The host chooses
the destination and its name. The host writes the tree into a fresh folder on the file system of the
destination, and addresses files by descriptors of their folders. No symbolic link of the guest can
be followed, because links are created last. Permissions of files are restricted as by the filter
`data` of Python's `tarfile`.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from errno import EBADMSG, ENAMETOOLONG
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import Self

from microvm.concurrency.threads import check_stopped, in_stoppable_thread, in_thread
from microvm.errors import FileError, MicroVMError
from microvm.guest.exclusion import NOTHING, Exclusion
from microvm.guest.staging import StagingFolder
from microvm.system.private import FOLDER
from microvm.wire import files

_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_ROOT = "tree"

# Maximum number of skipped links whose paths are kept. More paths could fill the host's memory,
# because each path may have 32 KiB.
_MAX_LEFT_OUT = 100


@dataclass(frozen=True, slots=True)
class Received:
    """The result of a download from a guest: the path on the host, and the number of files.

    :ivar path: Path of the downloaded file or folder on the host.
    :ivar files: Number of files, folders and links.
    :ivar size: Number of bytes in all files.
    :ivar left_out: Paths of links in the tree that were skipped because they lead out of the tree;
        at most 100.
    :ivar left_out_count: Number of all links that were skipped.
    """

    path: Path
    files: int
    size: int
    left_out: tuple[str, ...]
    left_out_count: int


@dataclass(frozen=True, slots=True, eq=False)
class _Folder:
    """A folder of the downloaded tree. It refers to its parent, since a path takes more memory."""

    name: str
    parent: _Folder | None
    depth: int

    def names(self) -> list[str]:
        """Return the names of the folders from the top of the downloaded tree to this folder."""
        above = self.parent.names() if self.parent else []
        return [*above, self.name]


@dataclass(frozen=True, slots=True)
class _Link:
    """A symbolic link that the guest sent. It is created after all files and folders."""

    folder: _Folder
    name: str
    target: bytes


class Download:
    """A file or folder that is being received from a guest; use it as a context manager.

    Leaving the context removes the staging folder, which holds the received files. Slow operations
    on many files run in threads, so that they do not block the event loop.
    """

    def __init__(self, source: str, destination: Path, exclusion: Exclusion = NOTHING) -> None:
        """Create a staging folder for `source`, a file or folder in the guest, near `destination`.

        If the destination is a folder, the staging folder is created in it, otherwise in its
        parent.

        :param destination: Path of the result on the host. If it is an existing folder, the
            received folder is merged into it.
        """
        self._source = source
        self._destination = destination
        # An existing folder may be a mount point, or its parent may not be writable. So create the
        # staging folder in the existing folder itself.
        self._parent = destination if destination.is_dir() else destination.parent
        self._staging = StagingFolder(self._parent)
        # Only the innermost of the nested folders is open, so a deep tree needs few descriptors.
        self._descriptor = self._staging.descriptor
        self._folder: _Folder | None = None
        self._links: list[_Link] = []
        self._left_out: list[str] = []
        self._left_out_count = 0
        self._file: tuple[int, files.Entry] | None = None
        self._count = self._size = 0
        self._exclusion = exclusion
        # Number of nested files and folders that are being skipped.
        self._skipped = 0

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._file is not None:
            os.close(self._file[0])
        self._enter(self._staging.descriptor)
        try:
            await in_thread(self._staging.remove)
        except MicroVMError:  # a MicroVMError means that no thread can be started
            self._staging.remove()

    def add(self, message: files.Entry | files.Data | files.Whole) -> None:
        """Write the content of a guest's message, such as a piece of a file, to the staging folder.

        :param message: Message that is in order after the messages that were added before.
        :raises FileError: If the name or the type of a file is invalid, or the message belongs to
            no file or folder.
        """
        if self._skipped or self._is_excluded(message):
            self._skip(message)
            return
        match message:
            case files.Entry():
                self._begin(message)
            case files.Data() if self._file is not None:
                self._size += len(message.data)
                data = memoryview(message.data)
                with self._host_errors(_ROOT):
                    while data:
                        data = data[os.write(self._file[0], data) :]
            case files.Whole() if self._file is not None:
                self._end_file(*self._file)
            case files.Whole() if self._folder is not None:
                self._leave(self._folder)
            case _:
                name = type(message).__name__.lower()
                raise _hostile(self._source, f"the guest sent `{name}`, which belongs to no entry")

    def _is_excluded(self, message: files.Entry | files.Data | files.Whole) -> bool:
        if not (self._exclusion and self._folder and isinstance(message, files.Entry)):
            return False
        name = name_of(message, self._source)
        return self._exclusion.matches("/".join((*self._folder.names()[1:], name)))

    def _skip(self, message: files.Entry | files.Data | files.Whole) -> None:
        if isinstance(message, files.Whole):
            self._skipped -= 1
        elif isinstance(message, files.Entry):
            has_content = stat.S_ISREG(message.mode) or stat.S_ISDIR(message.mode)
            self._skipped += has_content

    def _begin(self, entry: files.Entry) -> None:
        name = name_of(entry, self._source) if self._count else _ROOT
        self._count += 1
        shown = "it" if self._count == 1 else repr(name)
        with self._host_errors(name):
            match stat.S_IFMT(entry.mode):
                case stat.S_IFREG:
                    self._file = os.open(name, _NEW_FILE, 0o600, dir_fd=self._descriptor), entry
                case stat.S_IFDIR:
                    self._begin_folder(name)
                case stat.S_IFLNK if self._folder is not None:
                    self._begin_link(_Link(self._folder, name, entry.target))
                case _:
                    raise _hostile(self._source, f"{shown} is neither a file, a folder nor a link")

    def _begin_folder(self, name: str) -> None:
        depth = self._folder.depth + 1 if self._folder else 1
        if depth > files.MAX_DEPTH:
            message = f"{self._source}: its folders are nested more than {files.MAX_DEPTH} deep"
            raise FileError(ENAMETOOLONG, self._source, message)
        os.mkdir(name, 0o755, dir_fd=self._descriptor)
        self._enter(os.open(name, FOLDER, dir_fd=self._descriptor))
        self._folder = _Folder(name, self._folder, depth)

    def _leave(self, folder: _Folder) -> None:
        with self._host_errors(folder.name):
            self._enter(os.open("..", FOLDER, dir_fd=self._descriptor))
        self._folder = folder.parent

    def _enter(self, descriptor: int) -> None:
        if self._descriptor != self._staging.descriptor:
            os.close(self._descriptor)
        self._descriptor = descriptor

    def _begin_link(self, link: _Link) -> None:
        if _stays_inside(link.target, link.folder.depth - 1):
            self._links.append(link)
            return
        self._left_out_count += 1
        if self._left_out_count <= _MAX_LEFT_OUT:
            self._left_out.append("/".join((*link.folder.names()[1:], link.name)))

    def _end_file(self, descriptor: int, entry: files.Entry) -> None:
        mode = entry.mode & 0o755 | 0o600
        os.fchmod(descriptor, mode if mode & 0o100 else mode & ~0o111)
        # ignore the error if the file system does not support this modification time
        with suppress(OSError, OverflowError):
            os.utime(descriptor, ns=(entry.mtime, entry.mtime))
        os.close(descriptor)
        self._file = None

    async def settle(self) -> Received:
        """Move the received tree to its destination. A folder is merged into an existing folder.

        :raises OSError: If something exists at the destination that cannot be replaced; the error
            has its path on the host.
        """
        return await in_stoppable_thread(self._settle)

    def _settle(self) -> Received:
        for folder, links in groupby(self._links, attrgetter("folder")):
            self._make_links(folder, links)
        self._staging.move(_ROOT, self._destination)
        return Received(
            self._destination,
            self._count - self._left_out_count,
            self._size,
            tuple(self._left_out),
            self._left_out_count,
        )

    def _make_links(self, folder: _Folder, links: Iterable[_Link]) -> None:
        descriptor = os.dup(self._staging.descriptor)
        try:
            for name in folder.names():
                with self._host_errors(name):
                    inner = os.open(name, FOLDER, dir_fd=descriptor)
                os.close(descriptor)
                descriptor = inner
            for link in links:
                check_stopped()
                with self._host_errors(link.name):
                    os.symlink(link.target, os.fsencode(link.name), dir_fd=descriptor)
        finally:
            os.close(descriptor)

    @contextmanager
    def _host_errors(self, name: str) -> Iterator[None]:
        """Context manager for writing the file `name`; its `OSError` names the folder on the host.

        If `name` exists, the guest sent it twice, which is a `FileError`.
        """
        try:
            yield
        except FileError:
            raise
        except FileExistsError:
            raise _hostile(self._source, f"the guest sent {name!r} twice") from None
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(self._parent)) from None


def name_of(entry: files.Entry, folder: str) -> str:
    """Check and return the name of a file that the guest sent. An error names the `folder`.

    :raises FileError: If the name is empty, `.`, `..`, or contains a slash.
    """
    name = os.fsdecode(entry.name)
    if name in ("", ".", "..") or "/" in name:
        raise _hostile(folder, f"the guest sent {name!r}, which is no name of a file")
    return name


def _hostile(path: str, reason: str) -> FileError:
    return FileError(EBADMSG, path, f"{path}: {reason}")


def _stays_inside(target: bytes, depth: int) -> bool:
    """Return True if a link `depth` folders below the top of a tree has its target in that tree.

    A `..` is accepted only at the beginning of the target, because a name before a `..` may be a
    link to an unknown folder.
    """
    parts = [part for part in target.split(b"/") if part not in (b"", b".")]
    up = 0
    while up < len(parts) and parts[up] == b"..":
        up += 1
    return bool(target) and target[:1] != b"/" and up <= depth and b".." not in parts[up:]

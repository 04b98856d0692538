"""A place is a fresh folder of ours, in which a tree is kept until it is moved to where it belongs.

All that is below a folder which others may write to is done by descriptors and follows no link.
"""

from __future__ import annotations

import itertools
import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from errno import EISDIR
from pathlib import Path

from microvm.concurrency.threads import check_stopped
from microvm.system.private import FOLDER, open_own

# A folder of others need not be one that we may read.
_DESTINATION = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class StagingFolder:
    """A fresh folder, which whoever has made it removes.

    :ivar descriptor: it, open.
    """

    def __init__(self, parent: Path) -> None:
        """Make one in another folder.

        :raises OSError: of Python's, with the path of that: there cannot be one.
        """
        with _about(parent):
            self._path = Path(tempfile.mkdtemp(prefix=".microvm-", dir=parent))
            # To remove what is in it takes two more, however many files are open by then.
            self._spare: list[int] = []
            try:
                for _ in range(2):
                    self._spare.append(os.open(self._path, FOLDER))
                self.descriptor = open_own(self._path)
            except OSError:
                self._free_spare()
                self._path.rmdir()
                raise

    def move(self, name: str, destination: Path) -> None:
        """Move what has a name in it to where it belongs; folders there get what they lack.

        :raises OSError: of Python's, with our path: something is there that cannot be replaced.
        """
        if not destination.is_dir():
            _move(name, self.descriptor, str(destination), None, destination)
        elif not _is_folder(_mode(name, self.descriptor)):
            raise IsADirectoryError(EISDIR, os.strerror(EISDIR), str(destination))
        else:
            with (
                _opened(name, self.descriptor, FOLDER, destination) as source,
                _opened(str(destination), None, _DESTINATION, destination) as into,
            ):
                for move in (False, True):  # what cannot be is found before anything has changed
                    _merge(source, into, destination, move=move)

    def remove(self) -> None:
        """Remove it with all that is in it, as far as that can be."""
        self._free_spare()
        with suppress(OSError):
            _empty(self.descriptor)
        os.close(self.descriptor)
        with suppress(OSError):
            self._path.rmdir()

    def _free_spare(self) -> None:
        while self._spare:
            os.close(self._spare.pop())


def _empty(top: int) -> None:
    """Remove what is in a folder, with few files open however deep it is."""
    fresh = map(str, itertools.count())
    names = os.listdir(top)
    while names:
        name = names.pop()
        with suppress(OSError):
            if not _is_folder(_mode(name, top)):
                os.unlink(name, dir_fd=top)
                continue
            with suppress(OSError), _opened(name, top, FOLDER, Path(name)) as folder:
                _empty_into(top, folder, fresh, names)
            os.rmdir(name, dir_fd=top)


def _empty_into(top: int, folder: int, fresh: Iterator[str], moved: list[str]) -> None:
    """Remove the files in a folder, and move the folders in it up."""
    for name in os.listdir(folder):
        if _is_folder(_mode(name, folder)):
            moved.append(next(fresh))
            os.rename(name, moved[-1], src_dir_fd=folder, dst_dir_fd=top)
        else:
            os.unlink(name, dir_fd=folder)


def _merge(source: int, destination: int, path: Path, *, move: bool) -> None:
    """Move what is in a folder into another, or only see whether that can be done."""
    for name in os.listdir(source):
        check_stopped()
        place = path / name
        ours, theirs = _mode(name, source), _mode(name, destination)
        if not theirs or not (_is_folder(ours) or _is_folder(theirs)):
            if move:
                _move(name, source, name, destination, place)
        elif not _is_folder(theirs):
            raise NotADirectoryError(f"{place} is there, and no folder")
        elif not _is_folder(ours):
            raise IsADirectoryError(f"{place} is there, and a folder")
        else:
            with (
                _opened(name, source, FOLDER, place) as inner,
                _opened(name, destination, _DESTINATION, place) as into,
            ):
                _merge(inner, into, place, move=move)


def _move(name: str, source: int, to: str, destination: int | None, path: Path) -> None:
    with _about(path):
        os.replace(name, to, src_dir_fd=source, dst_dir_fd=destination)


@contextmanager
def _opened(name: str, folder: int | None, flags: int, path: Path) -> Iterator[int]:
    with _about(path):
        descriptor = os.open(name, flags, dir_fd=folder)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def _about(path: Path) -> Iterator[None]:
    """Have an error say which path it is about: to the user, not to us."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from None


def _mode(name: str, folder: int) -> int:
    """The type and permissions of what has this name; 0 if nothing has."""
    try:
        return os.lstat(name, dir_fd=folder).st_mode
    except FileNotFoundError:
        return 0


def _is_folder(mode: int) -> bool:
    return stat.S_ISDIR(mode)

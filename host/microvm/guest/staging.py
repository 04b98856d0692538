"""Staging folders: fresh folders that hold a downloaded tree until it is moved to its destination.

Other users of the host may be able to write to the parent of a staging folder. So every operation
in it addresses files by descriptors, and follows no symbolic link.
"""

from __future__ import annotations

import itertools
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from errno import EISDIR
from pathlib import Path
from stat import S_ISDIR

from microvm.concurrency.threads import check_stopped
from microvm.system import platform
from microvm.system.private import FOLDER, open_own

# O_PATH also opens a folder that this process cannot read, such as a folder of another user.
_DESTINATION = platform.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class StagingFolder:
    """A fresh folder for a downloaded tree. The caller that creates the folder also removes it."""

    def __init__(self, parent: Path) -> None:
        """Create a staging folder in the folder `parent`."""
        with _errors_about(parent):
            self._path = Path(tempfile.mkdtemp(prefix=".microvm-", dir=parent))
            # Removing the content of the folder takes two file descriptors. Reserve them now,
            # because the process may have reached its limit of open files by then.
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
        """Move a file or folder from the staging folder to its destination.

        A folder is merged into an existing one.

        :raises OSError: If something exists at the destination that cannot be replaced; the error
            has its path.
        """
        if not destination.is_dir():
            _move(name, self.descriptor, str(destination), None, destination)
        elif not S_ISDIR(_mode(name, self.descriptor)):
            raise IsADirectoryError(EISDIR, os.strerror(EISDIR), str(destination))
        else:
            with (
                _opened(name, self.descriptor, FOLDER, destination) as source,
                _opened(str(destination), None, _DESTINATION, destination) as into,
            ):
                # The first pass only looks for files that cannot be replaced, before the second
                # pass moves anything.
                for move in (False, True):
                    _merge(source, into, destination, move=move)

    def remove(self) -> None:
        """Remove the staging folder and its content; errors are ignored."""
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
    """Remove the content of the open folder `top`, with few descriptors even in a deep tree."""
    fresh = map(str, itertools.count())
    names = os.listdir(top)
    while names:
        name = names.pop()
        with suppress(OSError):
            if not S_ISDIR(_mode(name, top)):
                os.unlink(name, dir_fd=top)
                continue
            with suppress(OSError), _opened(name, top, FOLDER, Path(name)) as folder:
                _empty_into(top, folder, fresh, names)
            os.rmdir(name, dir_fd=top)


def _empty_into(top: int, folder: int, fresh: Iterator[str], moved: list[str]) -> None:
    """Remove the files of `folder`; move its subfolders to `top`, and list their names in `moved`.

    This flattens a deep tree. The iterator `fresh` yields new names for the subfolders.
    """
    for name in os.listdir(folder):
        if S_ISDIR(_mode(name, folder)):
            moved.append(next(fresh))
            os.rename(name, moved[-1], src_dir_fd=folder, dst_dir_fd=top)
        else:
            os.unlink(name, dir_fd=folder)


def _merge(source: int, destination: int, path: Path, *, move: bool) -> None:
    """Merge the open folder `source` into `destination`; if `move` is False, find conflicts only.

    `path` is the path of `destination`, for errors.
    """
    for name in os.listdir(source):
        check_stopped()
        target = path / name
        new, existing = _mode(name, source), _mode(name, destination)
        if not existing or not (S_ISDIR(new) or S_ISDIR(existing)):
            if move:
                _move(name, source, name, destination, target)
        elif not S_ISDIR(existing):
            raise NotADirectoryError(f"cannot replace {target} by a folder: it is no folder")
        elif not S_ISDIR(new):
            raise IsADirectoryError(f"cannot replace {target} by a file: it is a folder")
        else:
            with (
                _opened(name, source, FOLDER, target) as inner,
                _opened(name, destination, _DESTINATION, target) as into,
            ):
                _merge(inner, into, target, move=move)


def _move(name: str, source: int, to: str, destination: int | None, path: Path) -> None:
    with _errors_about(path):
        os.replace(name, to, src_dir_fd=source, dst_dir_fd=destination)


@contextmanager
def _opened(name: str, folder: int | None, flags: int, path: Path) -> Iterator[int]:
    with _errors_about(path):
        descriptor = os.open(name, flags, dir_fd=folder)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def _errors_about(path: Path) -> Iterator[None]:
    """Context manager that replaces the path in an `OSError` by `path`, which the user knows."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from None


def _mode(name: str, folder: int) -> int:
    """Return the type and permissions of a file, as in `st_mode`; 0 if the file does not exist."""
    try:
        return os.lstat(name, dir_fd=folder).st_mode
    except FileNotFoundError:
        return 0

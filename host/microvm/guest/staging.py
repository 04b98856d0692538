"""Staging folders: fresh folders that hold a downloaded tree until it is moved to its destination.

Other users may be able to write to the folder above. So every operation below it uses descriptors
and follows no symbolic link.
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
from microvm.system.private import FOLDER, open_own

# With O_PATH, a destination need not be readable, such as a folder of another user.
_DESTINATION = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class StagingFolder:
    """A fresh folder, which is removed by the caller that created it.

    :ivar descriptor: Open descriptor of the folder.
    """

    def __init__(self, parent: Path) -> None:
        """Create the folder in another folder.

        :raises OSError: If it cannot be created; the error has the path of the other folder.
        """
        with _errors_about(parent):
            self._path = Path(tempfile.mkdtemp(prefix=".microvm-", dir=parent))
            # Removing the content takes two descriptors. Reserve them now, because the process may
            # have reached its limit by then.
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
        """Move an entry of the folder to its destination. A folder is merged into an existing one.

        :raises OSError: If something exists that cannot be replaced; the error has its path.
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
                for move in (False, True):  # find conflicts before anything is changed
                    _merge(source, into, destination, move=move)

    def remove(self) -> None:
        """Remove the folder with its content; errors are ignored."""
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
    """Remove the content of a folder, with a constant number of descriptors at any depth."""
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
    """Remove the files of a folder, and move its subfolders to the folder `top`."""
    for name in os.listdir(folder):
        if S_ISDIR(_mode(name, folder)):
            moved.append(next(fresh))
            os.rename(name, moved[-1], src_dir_fd=folder, dst_dir_fd=top)
        else:
            os.unlink(name, dir_fd=folder)


def _merge(source: int, destination: int, path: Path, *, move: bool) -> None:
    """Move the entries of a folder into another one, or only check whether that is possible."""
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
    """Set the path of an `OSError` to this one, because users do not know the staging folder."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from None


def _mode(name: str, folder: int) -> int:
    """Return the type and permissions of an entry; 0 if it does not exist."""
    try:
        return os.lstat(name, dir_fd=folder).st_mode
    except FileNotFoundError:
        return 0

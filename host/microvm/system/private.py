"""Checks that no other user can change a folder, and creates folders that only we can use.

The rule for such a folder is the one that ssh has for its own files. A folder, and each folder and
link on the way to it, must belong to us or to root. No other user may write to it, because that
user could replace everything in it. There are three exceptions for folders on the way. In a sticky
folder such as /tmp, users cannot move the files of other users. The group of root, and the group
with our name, may write, because a umask of 002 allows that. The owner of `/` may be another user
id, because root may have another number in a user namespace.

After this check, the same path can be opened several times, because no other user can replace the
folder.
"""

from __future__ import annotations

import errno
import os
import stat

from microvm.system import platform

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from tempfile import TemporaryDirectory
    from typing import Literal

    from microvm.errors import MicroVMError

OTHERS = stat.S_IWGRP | stat.S_IWOTH
"""The bits of a file mode that let other users write."""

FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
"""The flags for opening a folder that only we use, for open(2)."""

_ANY_FOLDER = platform.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC


class Exposure:
    """The reason why another user can change or replace a folder.

    :ivar path: the folder or link that the other user controls.
    :ivar by: what gives that control: the `owner` of `path`, or its `mode`.
    :ivar why: the reason in words, such as "can be written by others", to follow the path in a
        message.
    """

    def __init__(self, path: str, status: os.stat_result, by: Literal["owner", "mode"]) -> None:
        self.path = path
        self.status = status
        self.by: Literal["owner", "mode"] = by
        self.why = in_words(status, by)


def exposure(path: str) -> Exposure | None:
    """Return the reason why another user can change or replace a folder; None if nobody else can.

    :param path: an absolute path. It need not exist: a missing folder does no harm. Links on the
        way are followed and checked.
    """
    top = os.stat("/").st_uid
    for each, status in _components(path):
        if not is_ours(status) and status.st_uid != top:
            return Exposure(each, status, "owner")
        if stat.S_ISDIR(status.st_mode) and _is_open_to_others(status):
            return Exposure(each, status, "mode")
    return None


def is_ours(status: os.stat_result) -> bool:
    """Tell whether a file belongs to the user of this process or to root."""
    return status.st_uid in {0, os.geteuid()}


def in_words(status: os.stat_result, by: Literal["owner", "mode"]) -> str:
    """Return in words why another user can change a file: by its `owner`, or by its `mode`.

    The words follow the path of the file in a message.
    """
    return f"belongs to {_name(status.st_uid)}" if by == "owner" else "can be written by others"


def make(name: str, parent: int | None = None, mode: int = 0o700) -> int:
    """Create a folder in the open folder `parent`, and return the descriptor of the new folder.

    The folder gets exactly this mode, whatever the umask is. The descriptor belongs to our folder,
    even if another user renames files in the parent.
    """
    os.mkdir(name, mode, dir_fd=parent)
    # The umask may have removed our right to read the folder. So first open it with O_PATH, which
    # needs no right.
    found = os.open(name, _ANY_FOLDER | os.O_NOFOLLOW, dir_fd=parent)
    try:
        status = os.fstat(found)
        if status.st_uid != os.geteuid():
            raise PermissionError(errno.EPERM, "another user has replaced it", name)
        if stat.S_IMODE(status.st_mode) != mode:
            # fchmod(2) refuses a descriptor that was opened with O_PATH. So change the mode by the
            # path of the descriptor.
            os.chmod(platform.descriptor_path(found), mode)
        return os.open(".", FOLDER, dir_fd=found)
    finally:
        os.close(found)


def make_path(path: str, mode: int = 0o700) -> int:
    """Create a folder by its path, and return its open descriptor, as `make` does."""
    above, name = os.path.split(path)
    parent = os.open(above or ".", _ANY_FOLDER)
    try:
        return make(name, parent, mode)
    except OSError as error:
        error.filename = path  # put the whole path into the error, because it appears in a message
        raise
    finally:
        os.close(parent)


def open_own(path: str | Path) -> int:
    """Open a folder that we have just created, and return its descriptor."""
    descriptor = os.open(path, FOLDER)
    if os.fstat(descriptor).st_uid != os.geteuid():
        os.close(descriptor)
        raise PermissionError(errno.EPERM, "another user has replaced it", os.fspath(path))
    return descriptor


def temporary() -> TemporaryDirectory[str]:
    """Create a folder for temporary files, as a context manager that removes it."""
    from tempfile import TemporaryDirectory

    return TemporaryDirectory(prefix="microvm-", dir=temporary_root(), ignore_cleanup_errors=True)


def temporary_root() -> str:
    """Return the folder for temporary files: $TMPDIR, or /tmp or /var/tmp if $TMPDIR is unusable.

    We do not use `tempfile` for this: it creates a file to try the folder, and the file stays if
    this process is killed.

    :raises MicroVMError: we may not write to any of these folders, or another user can replace
        files in it.
    """
    folders = [*filter(None, (os.environ.get("TMPDIR"), "/tmp", "/var/tmp"))]  # noqa: S108
    for folder in map(os.path.abspath, folders):
        if os.path.isdir(folder) and os.access(folder, os.W_OK | os.X_OK):
            if found := exposure(folder):
                raise _unusable(folder, f"{found.path} {found.why}")
            return folder
    raise _unusable(folders[0], os.strerror(errno.EACCES))


def _unusable(folder: str, why: str) -> MicroVMError:
    from microvm.errors import MicroVMError  # imported late, because `microvm exec` rarely needs it

    message = f"cannot use {folder} for temporary files: {why}"
    return MicroVMError(message, hint="set TMPDIR to a folder of your own, or to /tmp")


def _components(folder: str) -> Iterator[tuple[str, os.stat_result]]:
    """Yield each folder and link that a path leads through, except `/`, with its status."""
    here, ahead = "/", folder.split("/")[::-1]
    while ahead:
        part = ahead.pop()
        if part in {"", "."}:
            continue
        if part == "..":
            here = os.path.dirname(here)
            continue
        path = os.path.join(here, part)
        try:
            status = os.lstat(path)
        except FileNotFoundError:
            return
        yield path, status
        if not stat.S_ISLNK(status.st_mode):
            here = path
            continue
        os.stat(path)  # This raises an error if symbolic links lead in a circle.
        target = os.readlink(path)
        here = "/" if target.startswith("/") else here
        ahead += target.split("/")[::-1]


def _is_open_to_others(status: os.stat_result) -> bool:
    if status.st_mode & stat.S_ISVTX:
        return False
    if status.st_mode & stat.S_IWOTH:
        return True
    return bool(status.st_mode & stat.S_IWGRP) and not _is_private(status.st_gid)


def _is_private(group: int) -> bool:
    """Tell whether a group has no other members: the group of root, or the group with our name."""
    import grp
    import pwd

    try:
        return group == 0 or grp.getgrgid(group).gr_name == pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return False


def _name(user: int) -> str:
    import pwd

    try:
        return f"user {pwd.getpwuid(user).pw_name}"
    except KeyError:
        return f"user {user}"

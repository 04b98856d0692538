"""Removes folders that killed builds have left in $TMPDIR.

Most of these folders are from older versions of microvm. A build of this version runs a tool, such
as mmdebstrap, under a helper process that removes the tool's temporary folder (see `namespaces`).
So the folder is left only if the helper process is killed, too. File systems may be mounted in the
folders of mmdebstrap. A folder is removed only if it has a known name, belongs to this user, is in
folders that no other user can change, and is no longer in use.
"""

from __future__ import annotations

import fcntl
import os
import pwd
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from microvm import cache
from microvm.errors import ImageError
from microvm.progress import Reporter
from microvm.system import private
from microvm.system.namespaces import mounts_below, unmount
from microvm.system.tools import temporary_folder

_LOCKED = re.compile(r"mmdebstrap\.\w{10}|microvm-[0-9a-f]{16}", re.ASCII)
"""Names of the folders that are locked while they are in use.

They are mmdebstrap's root folder, on which mmdebstrap holds a lock, and the temporary folder of a
tool, on which the helper process of the tool holds a lock.
"""

_OTHERS = re.compile(r"mmdebstrap\.(?:gpghome|apt\.conf)\.\w{12}|(microvm-[a-z0-9_]{8})", re.ASCII)
"""Names of folders without locks: other folders of mmdebstrap, and those of launcher builds."""

_LAUNCHER = "confine"

_DAY = 24 * 3600
"""Number of seconds after its last change when a folder without a lock counts as unused."""


def remove(report: Reporter) -> None:
    """Remove the folders that killed builds have left in $TMPDIR, and report each of them."""
    for path in _found(report):
        try:
            with _claimed(path) as is_unused:
                if is_unused:
                    for point in mounts_below(str(path)):
                        unmount(point)
                    if points := mounts_below(str(path)):
                        raise OSError(f"{points[0]} is mounted")
                    cache.clear(path)
                    report.notice(f"removed {path}, which a killed build had left")
        except FileNotFoundError:
            continue  # no error: another process has removed the folder meanwhile
        except (ImageError, OSError) as error:
            report.notice(f"cannot remove {path}, which a killed build has left: {error}")


def _found(report: Reporter) -> Iterator[Path]:
    """Yield the folders in $TMPDIR and /tmp that killed builds of this user may have left.

    The folders are recognized by their names, owners and modes.
    """
    folders = {Path("/tmp")}  # noqa: S108 - mmdebstrap uses /tmp if $TMPDIR is not set
    try:
        folders.add(Path(temporary_folder()))
    except ImageError as error:
        report.notice(f"cannot search for folders of killed builds: {error}")
    for folder in {each.resolve() for each in folders}:
        with suppress(OSError):
            if exposure := private.exposure(os.fspath(folder)):
                report.notice(
                    f"cannot search {folder} for folders of killed builds: "
                    f"{exposure.path} {exposure.why}"
                )
                continue
            for path in sorted(folder.iterdir()):
                if _LOCKED.fullmatch(path.name) or _OTHERS.fullmatch(path.name):
                    status = path.lstat()
                    is_ours = _is_own_id(status.st_uid) and not status.st_mode & private.OTHERS
                    if is_ours and not (path.is_symlink() or path.is_mount()):
                        yield path


def _is_own_id(user: int) -> bool:
    """Return True if a user id is this user's own id, or one that /etc/subuid gives this user."""
    own = os.geteuid()
    if user == own:
        return True
    with suppress(KeyError, OSError, ValueError):
        names = {str(own), pwd.getpwuid(own).pw_name}
        for line in Path("/etc/subuid").read_text().splitlines():
            name, start, count = line.split(":")
            if name in names and int(start) <= user < int(start) + int(count):
                return True
    return False


@contextmanager
def _claimed(path: Path) -> Iterator[bool]:
    """Context manager that yields True if no process uses the folder, so that it may be removed.

    If the folder is of a kind that is locked while in use, it stays locked until the end of the
    block. A folder of another kind counts as unused a day after its last change.
    """
    if other := _OTHERS.fullmatch(path.name):
        is_ours = not other[1] or {each.name for each in path.iterdir()} <= {_LAUNCHER}
        yield is_ours and path.lstat().st_mtime < time.time() - _DAY
        return
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(descriptor)

"""The trust in a cache: whom it must belong to, since what lies in it is believed and executed.

The rule is that of ssh for its own files: us or root, and nobody else may write there. It holds for
each folder on the way, too, because who may write to one can put another cache in its place. Three
things on the way do no harm: a sticky folder such as /tmp, where nobody moves what is another's; a
group of root's or of one's own, which a umask of 002 goes with; and the owner of `/`, who could
replace all the rest, and whom some user namespaces do not know as root.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Literal

from microvm.errors import ImageError

OTHERS = stat.S_IWGRP | stat.S_IWOTH
"""The bits of a mode that let others write."""


class Untrusted(ImageError):
    """A cache cannot be trusted; the hint says what to do.

    :ivar path: what others have a say in: the folder itself, or something on the way to it.
    :ivar by: what gives it to them.
    """

    path: Path
    by: Literal["owner", "mode"]


def check(folder: Path) -> None:
    """Check that a folder, as far as it is there, can be changed by us and by root alone.

    :param folder: an absolute path; links on the way are followed, and have to be trusted, too.
    :raises Untrusted: it cannot be trusted.
    :raises OSError: it cannot be looked at.
    """
    for path, status in _components(folder):
        ours = status.st_uid in {0, os.geteuid()}
        if not ours and status.st_uid != Path("/").stat().st_uid:
            raise _refusal(folder, path, status, "owner")
        if stat.S_ISDIR(status.st_mode) and _open_to_others(status):
            raise _refusal(folder, path, status, "mode")
    check_alone(folder)


def check_alone(folder: Path) -> None:
    """Check the same of a folder whose parents have been checked.

    :raises Untrusted: it cannot be trusted.
    :raises OSError: it cannot be looked at.
    """
    with suppress(FileNotFoundError):
        status = folder.stat()
        if by := _at_fault(status):
            raise _refusal(folder, folder, status, by)


def obstacle(status: os.stat_result) -> str:
    """Return why something in a cache is not to be trusted; empty if it is."""
    by = _at_fault(status)
    return _in_words(status, by) if by else ""


def _at_fault(status: os.stat_result) -> Literal["owner", "mode"] | None:
    if status.st_uid not in {0, os.geteuid()}:
        return "owner"
    return "mode" if status.st_mode & OTHERS else None


def _in_words(status: os.stat_result, by: Literal["owner", "mode"]) -> str:
    return f"belongs to {_name(status.st_uid)}" if by == "owner" else "can be written by others"


def _components(folder: Path) -> Iterator[tuple[Path, os.stat_result]]:
    """Yield all that a path leads through but `/`: folders, links, and where those point."""
    here, ahead = Path("/"), list(reversed(folder.parts[1:]))
    while ahead:
        part = ahead.pop()
        if part == "..":
            here = here.parent
            continue
        path = here / part
        try:
            status = path.lstat()
        except FileNotFoundError:
            return
        yield path, status
        if not stat.S_ISLNK(status.st_mode):
            here = path
            continue
        path.stat()  # raises where links go in circles
        target = path.readlink()
        here = Path("/") if target.is_absolute() else here
        ahead += [each for each in reversed(target.parts) if each != "/"]


def _open_to_others(status: os.stat_result) -> bool:
    if status.st_mode & stat.S_ISVTX:
        return False
    if status.st_mode & stat.S_IWOTH:
        return True
    return bool(status.st_mode & stat.S_IWGRP) and not _is_private(status.st_gid)


def _is_private(group: int) -> bool:
    """Tell whether a group is root's, or has our name and so us alone, as for pam_umask(8)."""
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


def _refusal(
    folder: Path, path: Path, status: os.stat_result, by: Literal["owner", "mode"]
) -> Untrusted:
    why = _in_words(status, by)
    where = f"{path} {why}" if path == folder else f"{path}, on the way to it, {why}"
    hint = "name a folder of your own with MICROVM_CACHE"
    if by == "mode":
        hint = f"`chmod go-w {path}`, if nobody else has put anything there, or {hint}"
    elif os.geteuid() == 0:
        hint += "; under sudo, -H takes root's"
    error = Untrusted(f"the cache {folder} cannot be trusted: {where}", hint=hint)
    error.path, error.by = path, by
    return error

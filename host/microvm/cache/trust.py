"""The check whether a cache can be trusted, since files from it are executed and believed later.

`microvm.system.private` has the rule for the cache's folder and for each folder on the way to it.
Within the cache, only its owner may write: not even a private group may.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path
from typing import Literal

from microvm.errors import CacheError
from microvm.system import private


class Untrusted(CacheError):
    """A cache cannot be trusted; the hint says what to do.

    :ivar path: the folder or link that other users can change: the cache itself, or one on the way
        to it.
    :ivar by: what lets them change it: its `owner` or its `mode`.
    :ivar mendable: whether its mode can be changed without harm: it is ours, and is not a folder
        that many users share, such as /tmp.
    """

    path: Path
    by: Literal["owner", "mode"]
    mendable: bool


def check(folder: Path) -> os.stat_result | None:
    """Check that only we and root can change a folder, whether it exists or is to be created.

    :param folder: an absolute path; links on the way are followed, and have to be trusted, too.
    :return: the status of the folder; None if it does not exist.
    :raises Untrusted: another user can change it.
    :raises OSError: it cannot be examined.
    """
    if found := private.exposure(os.fspath(folder)):
        raise _refusal(folder, Path(found.path), found.status, found.by)
    return check_alone(folder)


def check_alone(folder: Path) -> os.stat_result | None:
    """Check that only we and root can change a folder, of which the parents have been checked.

    :return: the status of the folder; None if it does not exist.
    :raises Untrusted: another user can change it.
    :raises OSError: it cannot be examined.
    """
    with suppress(FileNotFoundError):
        status = folder.stat()
        if by := _at_fault(status):
            raise _refusal(folder, folder, status, by)
        return status
    return None


def obstacle(status: os.stat_result) -> str:
    """Return why something in a cache is not to be trusted; empty if it is."""
    by = _at_fault(status)
    return private.in_words(status, by) if by else ""


def _at_fault(status: os.stat_result) -> Literal["owner", "mode"] | None:
    if not private.is_ours(status):
        return "owner"
    return "mode" if status.st_mode & private.OTHERS else None


def _refusal(
    folder: Path, path: Path, status: os.stat_result, by: Literal["owner", "mode"]
) -> Untrusted:
    why = private.in_words(status, by)
    where = f"{path} {why}" if path == folder else f"{path}, on the way to it, {why}"
    hint = "name a folder of your own with MICROVM_CACHE"
    ours = status.st_uid == os.geteuid() and not status.st_mode & stat.S_ISVTX
    mendable = by == "mode" and ours
    if mendable:
        hint = f"`chmod go-w {path}`, if nobody else has put anything there, or {hint}"
    elif by == "owner" and os.geteuid() == 0:
        hint += "; under sudo, -H takes root's"
    error = Untrusted(f"the cache {folder} cannot be trusted: {where}", hint=hint)
    error.path, error.by, error.mendable = path, by, mendable
    return error

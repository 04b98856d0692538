"""Checks that other users cannot change the cache, because we execute and trust its files.

`microvm.system.private` defines the rule for the folder of the cache and for its parents. Within
the cache, only its owner may write, and not even a group that has no other member.
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
    """Error: other users can change the cache. The hint says how to solve that.

    :ivar path: The folder or link that other users can change: the cache or one of its parents.
    :ivar by: The reason why they can change it: its `owner` or its `mode`.
    :ivar mendable: True if its mode can be changed without harm: it belongs to this user, and is
        not a folder that many users share, such as /tmp.
    """

    path: Path
    by: Literal["owner", "mode"]
    mendable: bool


def check(folder: Path) -> os.stat_result | None:
    """Check that only we and root can change a folder, whether it exists or is to be created.

    :param folder: An absolute path; links in it are followed, and have to be trusted, too.
    :raises Untrusted: Another user can change it.
    """
    if found := private.exposure(os.fspath(folder)):
        raise _refusal(folder, Path(found.path), found.status, found.by)
    return check_alone(folder)


def check_alone(folder: Path) -> os.stat_result | None:
    """Check that only we and root can change a folder, whose parents have been checked already."""
    with suppress(FileNotFoundError):
        status = folder.stat()
        if by := _at_fault(status):
            raise _refusal(folder, folder, status, by)
        return status
    return None


def obstacle(status: os.stat_result) -> str:
    """Return the reason why a file or folder of a cache cannot be trusted; "" if it can."""
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
        hint += "; under sudo, -H uses root's cache"
    error = Untrusted(f"the cache {folder} cannot be trusted: {where}", hint=hint)
    error.path, error.by, error.mendable = path, by, mendable
    return error

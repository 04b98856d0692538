"""The checks of the cache: whose it is, and whether there is room in it."""

from __future__ import annotations

import os
import shlex
from contextlib import suppress
from pathlib import Path

from microvm.cli.checks.check import CheckResult, EarlierResults, HostCheck, HostFault, ok
from microvm.errors import ImageError

_MIB = 1 << 20
_PLACES = (Path("/var/tmp"), Path("/tmp"))  # noqa: S108 - in it a folder that is ours alone

# The default image and its template take 60 MiB; while they are made, Debian's kernel twice that.
_ROOM_FOR_ALL, _ROOM_AT_LEAST = 1024 * _MIB, 256 * _MIB

_MEND = "export MICROVM_CACHE={another}"  # or what `_another` says here

UNTRUSTED = HostFault(
    "failed",
    "the cache {folder} cannot be trusted: {why}",
    "chmod go-w {folder}",
    "it belongs to another user, or others can write to it or to a folder above it; unless it is "
    "yours, another folder is named",
)
UNREADABLE = HostFault("failed", "cannot use {folder}: {why}", _MEND)
NO_FOLDER = HostFault("failed", "the cache {folder} is no folder", _MEND)
NO_HOME = HostFault("failed", "there is no home for a cache", _MEND)
NOT_TO_BE_MADE = HostFault(
    "failed",
    "the cache {folder} is not there, and cannot be made: {above} cannot be written",
    _MEND,
    "there is no home, or it is another's, or read-only",
)
READ_ONLY = HostFault(
    "note",
    "the cache {folder} cannot be written: what is in it is used, and no more comes into it",
    _MEND,
    "a machine boots where there is no template of it; what has to be built is an error",
)


def cache(_: EarlierResults) -> CheckResult:
    """See whose it is, and whether it can be written."""
    from microvm import cache as caches
    from microvm.cache import trust

    try:
        folder = caches.root()
    except caches.NoHome as error:
        return NO_HOME.of(error, mend=_another())
    except trust.Untrusted as error:
        mend = f"chmod go-w {shlex.quote(str(error.path))}" if error.mendable else _another()
        return UNTRUSTED.of(error, mend=mend)
    except ImageError as error:
        return UNREADABLE.of(error, mend=_another())
    above = _nearest(folder)
    if above != folder and not _writable(above):
        return NOT_TO_BE_MADE.found(folder=folder, above=above, mend=_another())
    if above == folder and not folder.is_dir():
        return NO_FOLDER.found(folder=folder, mend=_another())
    if above == folder and not _writable(folder):
        return READ_ONLY.found(folder=folder, mend=_another())
    if above != folder:
        return ok(f"{folder}, which the first start creates")
    return ok(f"{folder}{', which all users may read' if caches.is_shared(folder) else ''}")


def _another() -> str:
    """Return the command that has the cache in a folder that can be used."""
    from microvm import cache as caches

    with suppress(ImageError):
        if os.environ.get("MICROVM_CACHE") and _usable(caches.usual()):
            return "unset MICROVM_CACHE"
    for folder in _PLACES:
        if _usable(own := folder / f"microvm-{os.geteuid()}"):
            return f"export MICROVM_CACHE={shlex.quote(str(own))}"
    return 'export MICROVM_CACHE="$(mktemp -d)"'


def _usable(folder: Path) -> bool:
    from microvm.cache import trust

    try:
        trust.check(folder)
    except (ImageError, OSError):
        return False
    return _writable(_nearest(folder))


def _nearest(folder: Path) -> Path:
    """Return the folder, or the nearest above it that there is."""
    return next(path for path in (folder, *folder.parents) if os.path.lexists(path))


def _writable(folder: Path) -> bool:
    return folder.is_dir() and os.access(folder, os.W_OK | os.X_OK, effective_ids=True)


_ELSEWHERE = "or name a folder elsewhere with MICROVM_CACHE"

FULL = HostFault(
    "failed",
    "{free} are free in the file system of {folder}",
    "microvm cache prune",
    "an image cannot be built; where one is there, this is a note: no template can be saved",
    _ELSEWHERE,
)
NEARLY_FULL = HostFault(
    "note",
    "{free} are free in the file system of {folder}: enough for few images and templates",
    "microvm cache prune",
    hint=_ELSEWHERE,
)


def disk(_: EarlierResults) -> CheckResult:
    """Look at the room in the cache's file system."""
    from microvm import cache as caches
    from microvm.units import format_size

    folder = _nearest(caches.root())
    file_system = os.statvfs(folder)
    free = file_system.f_bavail * file_system.f_frsize
    without_inodes = file_system.f_files > 0 and file_system.f_favail == 0
    shown = "no more files" if without_inodes else format_size(free)
    if without_inodes or free < _ROOM_AT_LEAST:
        return FULL.found(status="note" if _has_image() else "failed", free=shown, folder=folder)
    if free < _ROOM_FOR_ALL:
        return NEARLY_FULL.found(free=shown, folder=folder)
    return ok(f"{free / (1 << 30):.1f} GiB are free in the file system of {folder}")


def _has_image() -> bool:
    from microvm.cli.checks import image

    return image.there() is not None


CHECKS = (
    HostCheck(
        "cache",
        "Whose the cache is, and whether it can be written.",
        cache,
        (UNTRUSTED, UNREADABLE, NO_FOLDER, NO_HOME, NOT_TO_BE_MADE, READ_ONLY),
        after=("python",),
    ),
    HostCheck(
        "disk",
        "Room in the cache's file system.",
        disk,
        (FULL, NEARLY_FULL),
        after=("cache",),
    ),
)

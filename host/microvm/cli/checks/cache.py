"""The checks of the cache: whether it can be used, and whether its file system has free space."""

from __future__ import annotations

import os
import shlex
from contextlib import suppress
from pathlib import Path

from microvm import cache as caches
from microvm.cache import trust
from microvm.cli.checks import image
from microvm.cli.checks.check import CheckResult, EarlierResults, HostCheck, HostFault, Severity, ok
from microvm.errors import MicroVMError
from microvm.units import format_size

_MIB = 1 << 20

# Public folders in which the check suggests a new folder for the cache, if the usual one cannot be
# used. Only the current user can open the new folder.
_PARENTS = (Path("/var/tmp"), Path("/tmp"))  # noqa: S108

# Limits of the check of free disk space. If at least `_ROOM_FOR_ALL` bytes are free, the check is
# ok. If fewer than `_ROOM_AT_LEAST` bytes are free and the default image does not exist yet, the
# check fails. Otherwise it prints a note. The default image and its template take 60 MiB, and twice
# as much while they are being created with Debian's kernel.
_ROOM_FOR_ALL, _ROOM_AT_LEAST = 1024 * _MIB, 256 * _MIB

# The command that fixes an unusable cache, as the documentation shows it. `_other_cache` returns
# the command with a path for this host.
_FIX = "export MICROVM_CACHE={another}"

UNTRUSTED = HostFault(
    "failed",
    "the cache {folder} cannot be trusted: {why}",
    "chmod go-w {folder}",
    "the folder or a folder above it belongs to another user, or other users can write to it; if "
    "the folder is not yours, the command names another cache",
)
UNUSABLE = HostFault(
    "failed",
    "the cache cannot be used: {why}",
    _FIX,
    "there is no home, or the folder cannot be read or created",
)
READ_ONLY = HostFault(
    "note",
    "the cache {folder} is read-only: its content is used, but nothing is added to it",
    _FIX,
    "a machine boots if the cache contains no template for it; an image cannot be built",
)


def check_cache(_: EarlierResults) -> CheckResult:
    """Check that the cache belongs to the current user or root, and can be written."""
    try:
        folder = caches.root()
    except trust.Untrusted as error:
        fix = f"chmod go-w {shlex.quote(str(error.path))}" if error.mendable else _other_cache()
        return UNTRUSTED.result_of(error, fix)
    except MicroVMError as error:
        return UNUSABLE.result(why=error.message, hint=error.hint, fix=_other_cache())
    existing = _nearest(folder)
    if existing == folder and not folder.is_dir():
        return UNUSABLE.result(why=f"{folder} is not a folder", fix=_other_cache())
    if existing == folder and not _is_writable(folder):
        return READ_ONLY.result(folder=folder, fix=_other_cache())
    if not _is_writable(existing):
        why = f"{folder} does not exist, and {existing} is not writable"
        return UNUSABLE.result(why=why, fix=_other_cache())
    if existing != folder:
        return ok(f"{folder}, which the first start creates")
    return ok(f"{folder}{', which all users may read' if caches.is_shared(folder) else ''}")


def _other_cache() -> str:
    """Return a shell command that makes microvm use another folder as the cache."""
    with suppress(MicroVMError):
        if os.environ.get("MICROVM_CACHE") and _is_usable(caches.usual()):
            return "unset MICROVM_CACHE"
    for parent in _PARENTS:
        if _is_usable(folder := parent / f"microvm-{os.geteuid()}"):
            return f"export MICROVM_CACHE={shlex.quote(str(folder))}"
    return 'export MICROVM_CACHE="$(mktemp -d)"'


def _is_usable(folder: Path) -> bool:
    try:
        trust.check(folder)
    except (MicroVMError, OSError):
        return False
    return _is_writable(_nearest(folder))


def _nearest(folder: Path) -> Path:
    """Return `folder` if it exists, else the nearest folder above it that exists."""
    return next(path for path in (folder, *folder.parents) if os.path.lexists(path))


def _is_writable(folder: Path) -> bool:
    return folder.is_dir() and os.access(folder, os.W_OK | os.X_OK, effective_ids=True)


FULL = HostFault(
    "failed",
    "the file system of {folder} has little free space: {free}",
    "microvm cache prune",
    "an image cannot be built; this is a note if the default image exists, or if there is space "
    "for a few images",
    "or select a folder on another file system with MICROVM_CACHE",
)


def check_disk(_: EarlierResults) -> CheckResult:
    """Check the free space in the file system of the cache."""
    folder = _nearest(caches.root())
    file_system = os.statvfs(folder)
    free = file_system.f_bavail * file_system.f_frsize
    if file_system.f_files > 0 and file_system.f_favail == 0:
        return FULL.result(free="no more files", folder=folder)
    if free < _ROOM_FOR_ALL:
        suffices = free >= _ROOM_AT_LEAST or image.default_image() is not None
        status: Severity = "note" if suffices else "failed"
        return FULL.result(status=status, free=format_size(free), folder=folder)
    return ok(f"{free / (1 << 30):.1f} GiB are free in the file system of {folder}")


CHECKS = (
    HostCheck(
        "cache",
        "The folder of the cache: whether it can be trusted and written.",
        check_cache,
        (UNTRUSTED, UNUSABLE, READ_ONLY),
        after=("python",),
    ),
    HostCheck(
        "disk", "Free space in the cache's file system.", check_disk, (FULL,), after=("cache",)
    ),
)

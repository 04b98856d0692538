"""Snapshots on the disk: guests that were saved under names of their users'."""

from __future__ import annotations

import os
from contextlib import suppress

from microvm import cache
from microvm.cache import lock
from microvm.errors import QemuError, SnapshotError
from microvm.qemu.command_line import Memory
from microvm.start import restorer
from microvm.start.origin import Origin
from microvm.start.saved import LOST, SavedGuest
from microvm.start.store import Store

STORE = Store("snapshots", "snapshot", SnapshotError, restorer.REMEDY)
"""The snapshots."""

_LEAST = 16 << 20  # bytes; those of the smallest guests take more


def check_room() -> None:
    """Check that the cache can keep a snapshot, before one is taken.

    :raises SnapshotError: the cache is shared with all users.
    :raises ImageError: the cache cannot be written, or has no room for the smallest snapshot.
    """
    import tempfile

    STORE.check_private()
    folder = STORE.folder
    with cache.disk_errors(folder):
        cache.make(folder)
        with tempfile.TemporaryFile(dir=folder) as file:
            os.posix_fallocate(file.fileno(), 0, _LEAST)


def save(
    memory: Memory, *, name: str, origin: Origin, copied: bool, base: int | None = None
) -> None:
    """Keep a guest as a snapshot; see `Store.save`.

    :raises SnapshotError: another process is saving a snapshot under that name, or the cache is
        shared.
    :raises ImageError: the disk is full, or cannot be written. Incomplete files are removed.
    """
    STORE.check_private()
    path = STORE.path(name)
    lock.sweep(STORE.folder)
    with lock.attempt(path) as ours:
        if not ours:
            raise SnapshotError(f"{lock.holder(path)} is just saving a snapshot {name}")
        STORE.save(memory, name=name, origin=origin, copied=copied, base=base)


def prune(*, unusable: bool = False, everything: bool = False) -> list[SavedGuest]:
    """Remove what is damaged or of another version of microvm, and return what was removed.

    :param unusable: remove what cannot be used here, too, though another image or QEMU, or
        another host, may be all that it takes.
    :param everything: remove all of them.
    """
    lock.sweep(STORE.folder)
    removed = []
    for saved in STORE.installed(deep=True):
        if everything or saved.flaw in LOST or (unusable and obstacle(saved.name)):
            with suppress(SnapshotError):  # another process saves it, or has removed it
                STORE.remove(saved.name)
                removed.append(saved)
    return removed


def needs() -> dict[str, list[str]]:
    """Return which snapshots need an image of the cache, by its name, in words."""
    needed: dict[str, list[str]] = {}
    for saved in STORE.installed():
        if saved.manifest is not None and not saved.manifest.origin.folder:
            needed.setdefault(saved.manifest.origin.image, []).append(f"snapshot {saved.name}")
    return needed


def obstacle(name: str) -> str:
    """Return why a snapshot cannot be used here; empty if it can."""
    try:
        restorer.image_of(f"snapshot {name}", STORE.check(name).origin)
    except (SnapshotError, QemuError) as error:
        return str(error)
    return ""

"""Snapshots in the cache: guests that were saved under names that their users chose."""

from __future__ import annotations

import os
from contextlib import suppress

from microvm import cache, start
from microvm.cache import lock
from microvm.errors import QemuError, SnapshotError
from microvm.qemu.command_line import Memory
from microvm.start import restorer
from microvm.start.origin import Origin
from microvm.start.saved import LOST, SavedGuest
from microvm.start.store import Store

STORE = Store("snapshots", "snapshot", SnapshotError, restorer.REMEDY)
"""The store of all snapshots."""

_LEAST = 16 << 20  # minimum number of free bytes; every snapshot is larger


def check_room() -> None:
    """Check before taking a snapshot that the cache can hold it.

    :raises SnapshotError: If all users share the cache.
    :raises CacheError: If the cache cannot be written, or lacks room for the smallest snapshot.
    """
    STORE.check_private()
    folder = STORE.folder
    with cache.disk_errors(folder):
        cache.make(folder)
        with start.TemporaryFile(dir=folder) as file:
            os.posix_fallocate(file.fileno(), 0, _LEAST)


def save(
    memory: Memory, *, name: str, origin: Origin, copied: bool, base: int | None = None
) -> None:
    """Save a guest as a snapshot; see `Store.save`.

    :raises SnapshotError: If another process saves a snapshot under that name, or all users share
        the cache.
    :raises CacheError: If the disk is full or cannot be written. Incomplete files are removed.
    """
    STORE.check_private()
    path = STORE.path(name)
    lock.sweep(STORE.folder)
    with lock.attempt(path) as is_locked:
        if not is_locked:
            raise SnapshotError(f"{lock.holder(path)} is saving a snapshot {name} now")
        STORE.save(memory, name=name, origin=origin, copied=copied, base=base)


def prune(*, unusable: bool = False, everything: bool = False) -> list[SavedGuest]:
    """Remove snapshots that are damaged or of another version of microvm, and return them.

    :param unusable: Also remove snapshots that cannot be used here, such as with another QEMU.
    :param everything: Remove all snapshots.
    """
    lock.sweep(STORE.folder)
    removed = []
    for saved in STORE.installed(deep=True):
        if everything or saved.flaw in LOST or (unusable and obstacle(saved.name)):
            with suppress(SnapshotError):  # another process is saving it, or has removed it
                STORE.remove(saved.name)
                removed.append(saved)
    return removed


def needs() -> dict[str, list[str]]:
    """Return texts that name the snapshots of each image in the cache, by the name of the image."""
    needed: dict[str, list[str]] = {}
    for saved in STORE.installed():
        if saved.manifest is not None and not saved.manifest.origin.folder:
            needed.setdefault(saved.manifest.origin.image, []).append(f"snapshot {saved.name}")
    return needed


def obstacle(name: str) -> str:
    """Return why a snapshot cannot be used here, or an empty text."""
    try:
        restorer.image_of(f"snapshot {name}", STORE.check(name).origin)
    except (SnapshotError, QemuError) as error:
        return str(error)
    return ""

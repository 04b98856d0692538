"""Snapshots on the disk: guests that were saved under names of their users'."""

from __future__ import annotations

from contextlib import suppress

from microvm.cache import lock
from microvm.errors import SnapshotError
from microvm.qemu.command import Memory
from microvm.start import restorer
from microvm.start.origin import Origin
from microvm.start.saved import Manifest, Saved, Store

STORE = Store("snapshots", "snapshot", SnapshotError, restorer.REMEDY)
"""The snapshots."""


def save(
    memory: Memory, *, name: str, origin: Origin, copied: bool, base: int | None = None
) -> None:
    """Keep a guest, as `Store.save` does.

    :raises SnapshotError: another process saves one under that name.
    :raises ImageError: the disk is full, or cannot be written. Nothing half made is left.
    """
    path = STORE.path(name)
    lock.sweep(STORE.folder)
    with lock.attempt(path) as ours:
        if not ours:
            raise SnapshotError(f"{lock.holder(path)} is just saving a snapshot {name}")
        STORE.save(memory, name=name, origin=origin, copied=copied, base=base)


def prune(*, everything: bool = False) -> list[Saved]:
    """Remove what cannot be used here any more, or all of them, and return what was removed."""
    lock.sweep(STORE.folder)
    removed = []
    for saved in STORE.installed():
        if everything or saved.manifest is None or obstacle(saved.manifest):
            with suppress(SnapshotError):  # another process saves it, or has removed it
                STORE.remove(saved.name)
                removed.append(saved)
    return removed


def obstacle(manifest: Manifest) -> str:
    """Return why a snapshot cannot be used here; empty if it can.

    :raises QemuError: QEMU, or what confines it, is not installed.
    """
    try:
        restorer.image_of(manifest.name, manifest.origin)
    except SnapshotError as error:
        return str(error)
    return ""

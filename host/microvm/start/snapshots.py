"""Snapshots in the cache: guests that users have saved under names of their choice."""

from __future__ import annotations

from contextlib import suppress

from microvm import cache, start
from microvm.cache import lock
from microvm.errors import QemuError, SnapshotError
from microvm.qemu.command_line import Memory
from microvm.start import restorer
from microvm.start.origin import Origin
from microvm.start.saved import LOST, SavedGuest
from microvm.start.store import Store
from microvm.system import platform

STORE = Store("snapshots", "snapshot", SnapshotError, restorer.REMEDY)
"""The store of all snapshots."""

# Before a snapshot is taken, the cache must have this number of free bytes. Every snapshot is
# larger, so with less free space a snapshot cannot succeed.
_LEAST = 16 << 20


def check_room() -> None:
    """Check that the cache is private and has room for a snapshot, before the snapshot is taken."""
    STORE.check_private()
    folder = STORE.folder
    with cache.disk_errors(folder):
        cache.make(folder)
        with start.TemporaryFile(dir=folder) as file:
            platform.reserve(file.fileno(), _LEAST)


def save(
    memory: Memory, *, name: str, origin: Origin, copied: bool, base: int | None = None
) -> None:
    """Save the guest in `memory` as the snapshot `name`; see `Store.save` for the arguments.

    :raises SnapshotError: If another process is saving a snapshot of that name, or the cache is
        shared with all users.
    """
    STORE.check_private()
    path = STORE.path(name)
    lock.sweep(STORE.folder)
    with lock.attempt(path) as is_locked:
        if not is_locked:
            raise SnapshotError(f"{lock.holder(path)} is saving a snapshot {name} now")
        STORE.save(memory, name=name, origin=origin, copied=copied, base=base)


def prune(*, unusable: bool = False, everything: bool = False) -> list[SavedGuest]:
    """Remove damaged and outdated snapshots; on request also `unusable` ones, or `everything`.

    An outdated snapshot was saved by another version of microvm. Return the snapshots that were
    removed.

    :param unusable: Also remove snapshots that cannot be used here, for example because QEMU has
        changed.
    """
    lock.sweep(STORE.folder)
    removed = []
    for saved in STORE.installed(deep=True):
        if everything or saved.flaw in LOST or (unusable and _is_unusable(saved.name)):
            # skip this snapshot: another process is saving it, or has removed it
            with suppress(SnapshotError):
                STORE.remove(saved.name)
                removed.append(saved)
    return removed


def needs() -> dict[str, list[str]]:
    """Return the names of images in the cache, each with the snapshots that need the image."""
    needed: dict[str, list[str]] = {}
    for saved in STORE.installed():
        if saved.manifest is not None and not saved.manifest.origin.folder:
            needed.setdefault(saved.manifest.origin.image, []).append(f"snapshot {saved.name}")
    return needed


def _is_unusable(name: str) -> bool:
    """Return True if a snapshot cannot be used here, and no repair of this host would help."""
    try:
        restorer.image_of(f"snapshot {name}", STORE.check(name).origin)
    except SnapshotError:
        return True
    except QemuError:  # for example, KVM cannot be used now
        return False
    return False


def obstacle(name: str) -> str:
    """Return the reason why a snapshot cannot be used here; empty if it can."""
    try:
        restorer.image_of(f"snapshot {name}", STORE.check(name).origin)
    except (SnapshotError, QemuError) as error:
        return str(error)
    return ""

"""Finds what needs an image of the cache: snapshots, and pools that are running."""

from __future__ import annotations

from contextlib import suppress

from microvm import cache
from microvm.errors import MicroVMError
from microvm.start import snapshots
from microvm.supervisor.client import machines


def needs() -> dict[str, list[str]]:
    """Return the names of images in the cache, each with the snapshots and pools that need it."""
    needed = snapshots.needs()
    with suppress(MicroVMError):  # if no pool can be found, none can be used
        for pool in machines.inspect(pools=True)[0]:
            image = str(pool.get("image"))
            is_cached = pool.get("folder") == str(cache.folder("images") / image)
            if is_cached and pool["state"] != "gone":
                needed.setdefault(image, []).append(f"pool {pool['name']}")
    return needed

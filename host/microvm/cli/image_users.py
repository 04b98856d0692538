"""Finds what needs an image of the cache: snapshots, and pools that are running."""

from __future__ import annotations

from contextlib import suppress

from microvm import cache
from microvm.errors import MicroVMError
from microvm.start import snapshots
from microvm.supervisor.machine_directory import FACTS
from microvm.supervisor.runtime_directory import RuntimeDirectory


def needs() -> dict[str, list[str]]:
    """Return the names of images in the cache, each with the snapshots and pools that need it."""
    needed = snapshots.needs()
    with suppress(MicroVMError), RuntimeDirectory() as runtime:
        for directory in runtime.directories():
            with directory, suppress(OSError):
                if directory.is_pool() and directory.is_alive():
                    facts = directory.read(FACTS)
                    image = str(facts.get("image"))
                    if (cache.folder("images") / image).samefile(str(facts.get("folder"))):
                        needed.setdefault(image, []).append(f"pool {directory.name}")
    return needed

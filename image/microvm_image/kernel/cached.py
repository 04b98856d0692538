"""The kernels in the cache, which `microvm kernel build` compiled on this host."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from microvm import cache
from microvm.arches import ARCHES, Arch
from microvm.cache import lock
from microvm.errors import ImageError
from microvm_image.kernel import recipe

WORK = "build"
"""The name of the folder in which kernels are compiled; its lock is the lock of all kernels."""


def newest(arch: Arch) -> Path | None:
    """Return the kernel that was built last, which new images get; None if there is none.

    Kernels of other versions of microvm are ignored, because the guest may need features that they
    lack.
    """
    ours = [path for path in installed() if f"-{arch.name}-" in path.name and cache.has(path)]
    if not ours:
        return None
    current = f"-{arch.name}-{recipe.digest(arch)}-"
    return next((path for path in ours if current in path.name), None)


def outdated(arch: Arch) -> bool:
    """Return True if kernels were built here, but all by other versions of microvm."""
    ours = any(f"-{arch.name}-" in path.name for path in installed())
    return ours and newest(arch) is None


def installed() -> Iterator[Path]:
    """Yield the kernels in the cache, the newest first."""
    yield from sorted(
        cache.folder("kernels").glob("linux-*"), key=lambda p: p.stat().st_mtime_ns, reverse=True
    )


def sweep() -> None:
    """Remove the unfinished kernels that killed processes have left, up to a gigabyte each."""
    folder = cache.folder("kernels")
    if unfinished := [*folder.glob(".*.tmp")]:
        with cache.disk_errors(), lock.attempt(folder / WORK) as ours:
            for each in unfinished if ours else ():
                cache.clear(each)


def superseded() -> list[Path]:
    """Return the kernels that a newer one of the same architecture replaces in new images."""
    newest_ones = {arch.name: newest(arch) for arch in ARCHES.values()}
    return [
        path
        for path in installed()
        for name, current in newest_ones.items()
        if f"-{name}-" in path.name and current not in {None, path}
    ]


def remove(name: str) -> None:
    """Remove a kernel from the cache. Images contain copies of their kernels.

    :raises ImageError: There is no kernel of that name.
    """
    for path in installed():
        if path.name == name:
            with cache.disk_errors():
                cache.clear(path)
            return
    raise ImageError(f"no kernel {name}", hint="`microvm kernel ls` lists them")

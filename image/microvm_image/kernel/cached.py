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
"""The name of the folder in which kernels are compiled. Its lock protects all kernels."""


def newest(arch: Arch) -> Path | None:
    """Return the small kernel for new images, the one that was built last; None if there is none.

    Kernels that other versions of microvm have built are ignored, because they may lack features
    that the guest needs.
    """
    ours = [path for path in installed() if f"-{arch.name}-" in path.name and cache.has(path)]
    if not ours:
        return None
    current = f"-{arch.name}-{recipe.digest(arch)}-"
    return next((path for path in ours if current in path.name), None)


def outdated(arch: Arch) -> bool:
    """Return True if the cache has small kernels, but only those of other versions of microvm."""
    ours = any(f"-{arch.name}-" in path.name for path in installed())
    return ours and newest(arch) is None


def installed() -> Iterator[Path]:
    """Yield the paths of the small kernels in the cache, the newest first."""
    yield from sorted(
        cache.folder("kernels").glob("linux-*"), key=lambda p: p.stat().st_mtime_ns, reverse=True
    )


def sweep() -> None:
    """Remove the unfinished kernels of builds that were killed. Each takes up to 1 GB."""
    folder = cache.folder("kernels")
    if unfinished := [*folder.glob(".*.tmp")]:
        with cache.disk_errors(), lock.attempt(folder / WORK) as ours:
            for each in unfinished if ours else ():
                cache.clear(each)


def superseded() -> list[Path]:
    """Return the kernels that no new image gets, because the cache has a newer one."""
    newest_ones = {arch.name: newest(arch) for arch in ARCHES.values()}
    return [
        path
        for path in installed()
        for name, current in newest_ones.items()
        if f"-{name}-" in path.name and current not in {None, path}
    ]


def remove(name: str) -> None:
    """Remove a kernel from the cache. Images still start, because they contain their own copies.

    :raises ImageError: There is no kernel of that name.
    """
    for path in installed():
        if path.name == name:
            with cache.disk_errors():
                cache.clear(path)
            return
    raise ImageError(f"no kernel {name}", hint="`microvm kernel ls` lists them")

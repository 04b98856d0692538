"""The downloads in the cache: packages, archives and sources, which can be fetched again.

The last use of a download is the newest time of writing of its files, which `contents.use` sets.
A build holds all of them, so that none is removed while it is read.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from microvm import arches, cache
from microvm.cache import contents, lock
from microvm.errors import ImageError
from microvm.log import Area
from microvm_image import rootfs
from microvm_image.apt import RELEASES

KEPT = 30 * 24 * 3600.0
"""Seconds without use after which the next build removes a download."""

_logger = Area("image")


def folder() -> Path:
    """Return their folder, there or not.

    :raises ImageError: others can change what is in it; see `cache.trust`.
    """
    return cache.folder("downloads")


@contextmanager
def in_use() -> Iterator[None]:
    """Keep all downloads for as long as the block takes."""
    with ExitStack() as held:
        with suppress(ImageError):  # where nothing can be written, nothing can be removed
            held.enter_context(lock.shared(folder()))
        yield


def expire() -> None:
    """Remove downloads that have not been used for a long time; where that fails, they stay."""
    with suppress(ImageError, OSError):
        for path in prune(unused=KEPT) or ():
            _logger.info("removed the download %s, which was not used for long", path.name)


def prune(*, unused: float = 0.0, everything: bool = False) -> list[Path] | None:
    """Remove downloads, and return their paths; None where a build holds them.

    The dates of releases always stay, since they show whether a mirror sends an old one.

    :param unused: the seconds for which one must not have been used.
    :param everything: also the archives that default images are made from: without them the
        default image is made anew.
    :raises ImageError: they cannot be removed.
    """
    top = folder()
    kept = {RELEASES}
    if not everything:
        kept |= {rootfs.cached(arch).name for arch in arches.ARCHES.values()}
    if not top.is_dir():
        return []
    removed = []
    before = time.time() - unused
    with cache.disk_errors(top), lock.attempt(top) as ours:
        if not ours:
            return None
        for path in sorted(top.glob("[!.]*")):
            if path.name in kept or contents.last_use(path) > before:
                continue
            with lock.attempt(path) as free:
                if free:
                    cache.clear(path)
                    removed.append(path)
    return removed

"""The downloads in the cache: packages, archives and source files, which builds of images need.

A download can be removed, because it can be downloaded again. The time of its last use is the
newest modification time of its files, which `contents.use` sets. A build holds a lock on all
downloads, so that none is removed while the build reads it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from microvm import arches, cache
from microvm.cache import contents, lock
from microvm.errors import CacheError
from microvm.log import Area
from microvm.progress import Reporter
from microvm_image import rootfs
from microvm_image.apt import RELEASES

KEPT = 30 * 24 * 3600.0
"""Number of seconds for which an unused download is kept. The next build then removes it."""

_logger = Area("image")


def folder() -> Path:
    """Return the path of the folder of downloads, whether it exists or not.

    :raises CacheError: Other users can change it; see `cache.trust`.
    """
    return cache.folder("downloads")


@contextmanager
def in_use(report: Reporter) -> Iterator[None]:
    """Context manager that prevents the removal of downloads during its `with` block."""
    with ExitStack() as held:
        # in a cache that cannot be written, no download can be removed, so no lock is needed
        with suppress(CacheError):
            held.enter_context(lock.shared(folder(), report))
        yield


def expire() -> None:
    """Remove downloads that have not been used for `KEPT` seconds. Errors are ignored."""
    with suppress(CacheError, OSError):
        for path in prune(unused=KEPT) or ():
            _logger.info("removed the download %s, which was not used for long", path.name)


def prune(*, unused: float = 0.0, everything: bool = False) -> list[Path] | None:
    """Remove downloads unused for `unused` seconds; if `everything`, also those of default images.

    Return the paths of the removed downloads. During a build, remove nothing, and return None.

    The dates of Debian's release files are never removed, because a check compares them with the
    files that mirrors send; see `apt`.

    :param unused: Minimum number of seconds since the last use of a download.
    :param everything: True to remove also the archives of which default images are built. The
        default image is then built again.
    :raises CacheError: A download cannot be removed.
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

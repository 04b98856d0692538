"""The default image of `microvm run`. It is found within a millisecond if it exists, else built."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from microvm import arches, cache, guest_pack
from microvm.arches import Arch
from microvm.cache import lock
from microvm.errors import CacheError, ImageError
from microvm.images import FORMAT, Image, folder_of, load
from microvm.log import Area
from microvm.progress import Reporter
from microvm.sha256 import sha256
from microvm.system.capacity import SHORTAGES
from microvm_image import offline, programs, rootfs
from microvm_image.kernel import selection

_logger = Area("image")
_LIMIT = 1 << 12


def default(*, arch: str | None = None, report: Reporter | None = None) -> Image:
    """Return the default image, and build it if it does not exist.

    `build` stores the name of the default image in a note in the cache. The name of the note is a
    digest of everything that can change the default image: the source files of the guest's programs
    and the guest pack; the archive and the kernel that environment variables name; the archive and
    the small kernel in the cache; the modules of other kernels; and the files of `offline`. So this
    function needs neither a compiler nor the network to find the image. A newer kernel package does
    not change this digest; `microvm image build` builds an image with the newer kernel.

    :param arch: The architecture, `x86_64` or `aarch64`; by default the architecture of this host.
    :param report: The receiver of progress reports; none by default.
    :raises ImageError: The image does not exist and cannot be built.
    """
    try:
        return load(noted(arches.find(arch)))
    except ImageError:
        _logger.info("the default image does not exist: building it")
    from microvm_image.build import build

    return build(arch=arch, report=report)


def alpine(*, arch: str | None = None, report: Reporter) -> Image:
    """Return the default image, and build it if it does not exist. It must contain Alpine.

    If the default image contains busybox, because no Alpine archive could be had when it was built,
    try again to get the archive.

    :raises ImageError: The Alpine archive cannot be had, or the image cannot be built.
    """
    target = arches.find(arch)
    with suppress(ImageError):
        if _is_alpine(image := load(noted(target))):
            return image
    with cache.disk_errors():
        rootfs.find_alpine(target, report)
    image = default(arch=arch, report=report)
    if not _is_alpine(image):
        raise ImageError(
            f"the default image contains {image.manifest.base}, not Alpine",
            hint="build an image of Alpine by `microvm image build alpine`",
        )
    return image


def _is_alpine(image: Image) -> bool:
    return image.manifest.base.startswith("alpine-")


def remember(arch: Arch, image: Image) -> None:
    """Store the name of the default image in a file of the cache, so that it is found quickly.

    This file is called the note. Notes with the names of images that do not exist are removed.
    If the note cannot be stored, or if another process is storing it, no error is raised: the next
    search for the default image takes longer.
    """
    note = _note(arch)
    if _named_in(note) == image.name:
        return
    with suppress(OSError, CacheError), lock.attempt(note) as ours:
        if ours:
            with cache.staging(note) as temporary:
                temporary.write_text(image.name)
            for other in note.parent.glob("[!.]*"):
                if not exists(_named_in(other)):
                    cache.clear(other)


def noted(arch: Arch) -> str:
    """Return the name of the default image that `remember` has stored; "" if it has stored none.

    :raises ImageError: The source files of the guest's programs are missing.
    """
    return _named_in(_note(arch))


def _named_in(note: Path) -> str:
    """Return the name of the image that the file `note` contains; "" if it cannot be read."""
    try:
        return cache.read(note, _LIMIT).decode()
    except UnicodeDecodeError:
        return ""
    except OSError as error:
        # If this process lacks a resource, such as a free descriptor, the note may exist. So raise
        # the error, and do not report that the note cannot be read.
        if error.errno in SHORTAGES:
            raise
        return ""


def exists(image: str) -> bool:
    """Return True if the cache has a folder for the image of this name. It may be damaged."""
    try:
        return folder_of(image).is_dir()
    except ImageError:
        return False


def _note(arch: Arch) -> Path:
    kept = rootfs.cached(arch)
    archive = rootfs.given(arch) or (kept if cache.has(kept) else None)
    key = (
        FORMAT,
        arch.name,
        programs.source_digest(),
        guest_pack.installed(arch),
        _stamp(archive) or os.environ.get("MICROVM_MIRROR"),
        (given := selection.given(arch)) == selection.packed(arch) or _stamp(given),
        selection.MODULES,
        offline.FILES,
    )
    return cache.folder("defaults") / sha256(repr(key).encode()).hexdigest()[:32]


def _stamp(path: Path | None) -> tuple[str | int, ...] | None:
    if path is None:
        return None
    try:
        status = path.stat()
    except OSError:  # a missing file is no error here, because the build reports it
        return str(path.absolute()), 0, 0
    # Identify a file in the cache by its name and size, without its time of modification, because
    # files in the cache are never changed.
    if path.is_relative_to(cache.root()):
        return path.name, status.st_size
    return str(path.absolute()), status.st_size, status.st_mtime_ns

"""The image of an ordinary run: found in a millisecond, built if there is none."""

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
from microvm_image import programs, rootfs
from microvm_image.kernel import selection

_logger = Area("image")
_LIMIT = 1 << 12


def default(*, arch: str | None = None, report: Reporter | None = None) -> Image:
    """Return the image that the environment asks for, built if there is none.

    To know which that is without compiling, hashing or asking the network, `build` leaves a note
    of its result under a key of all that it could have found otherwise: the guest's sources and
    pack, the archive and kernel that the environment names, the archive and small kernel in the
    cache, and the modules that are wanted of another kernel. A newer kernel package alone is not
    among them: `microvm image build` takes it.

    :param arch: `x86_64` or `aarch64`; by default this machine's.
    :param report: who is told how far a build is; nobody by default.
    :raises ImageError: there is none, and none can be built.
    """
    if image := _recall(arches.find(arch)):
        return image
    _logger.info("no image is there of what the environment asks for: building it")
    from microvm_image.build import build

    return build(arch=arch, report=report)


def remember(arch: Arch, image: Image) -> None:
    """Note that this image is what the environment asks for; drop notes of images now gone.

    Where that cannot be noted, or another process does it just now, the next build takes longer.
    """
    note = _note(arch)
    if _named_in(note) == image.name:
        return
    with suppress(OSError, CacheError), lock.attempt(note) as ours:
        if ours:
            with cache.staging(note) as temporary:
                temporary.write_text(image.name)
            for other in note.parent.glob("[!.]*"):
                if not _is_there(_named_in(other)):
                    cache.clear(other)


def noted(arch: Arch) -> str:
    """Return the name of the image that an ordinary run takes; empty if none is noted.

    :raises ImageError: the sources of the daemon are missing.
    """
    return _named_in(_note(arch))


def _recall(arch: Arch) -> Image | None:
    try:
        return load(noted(arch))
    except ImageError:
        return None


def _named_in(note: Path) -> str:
    """Return the name of the image in a note; empty if there is none that can be read."""
    try:
        return cache.read(note, _LIMIT).decode()
    except UnicodeDecodeError:
        return ""
    except OSError as error:
        if error.errno in SHORTAGES:  # it may well be there
            raise
        return ""


def _is_there(image: str) -> bool:
    try:
        return folder_of(image).exists()
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
    )
    return cache.folder("defaults") / sha256(repr(key).encode()).hexdigest()[:32]


def _stamp(path: Path | None) -> tuple[str | int, ...] | None:
    if path is None:
        return None
    try:
        status = path.stat()
    except OSError:  # a build says so
        return str(path.absolute()), 0, 0
    if path.is_relative_to(cache.root()):  # where names say what it is; it may be a copy
        return path.name, status.st_size
    return str(path.absolute()), status.st_size, status.st_mtime_ns

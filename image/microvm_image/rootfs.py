"""The default root file system: Alpine's minirootfs, or if it is not available, busybox."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from microvm import cache, guest_pack
from microvm.arches import Arch
from microvm.cache import lock
from microvm.errors import CacheError, ImageError
from microvm.progress import Reporter
from microvm_image.sources import alpine

if TYPE_CHECKING:
    from microvm_image.source import ImageSource

_LIMIT = 64 << 20  # maximum size of the archive in bytes, twenty times the size of Alpine's archive


def given(arch: Arch) -> Path | None:
    """Return the path of the Alpine archive that $MICROVM_ROOTFS names; None if it is not set."""
    named = os.environ.get("MICROVM_ROOTFS")
    return archive_at(Path(named), arch) if named else None


def archive_at(path: Path, arch: Arch) -> Path:
    """Return the path of the Alpine archive, given this path or the path of its folder."""
    # Do not use Path.is_dir(), which raises an error if this user may not read the folder above.
    return path / alpine.archive_name(arch) if os.path.isdir(path) else path  # noqa: PTH112


def cached(arch: Arch) -> Path:
    """Return the path of the Alpine archive in the cache. The file need not exist."""
    return cache.folder("downloads") / alpine.archive_name(arch)


def packed(arch: Arch) -> bytes:
    """Return the Alpine archive from the guest pack; b"" if no pack has it in this version."""
    name = alpine.archive_name(arch)
    return guest_pack.files(arch, guest_pack.ROOTFS, arch.alpine_sha256, [name]).get(name, b"")


def find(arch: Arch, path: Path | None, mirror: str | None, report: Reporter) -> ImageSource:
    """Return the default root file system: Alpine from `path`, `mirror` or others, else busybox.

    The Alpine archive is taken from the first of these: `path`, $MICROVM_ROOTFS, the cache, the
    guest pack, a mirror. The mirror is `mirror`, $MICROVM_MIRROR or Alpine's own. If none has the
    archive, Debian's busybox is used instead, and a notice is shown. The archive is kept in the
    cache, so that later builds need neither the path nor the network.

    :param path: The path of the archive, or of a folder that contains it under its own name.
    :param mirror: The address of a mirror, which has Alpine's folder `v3.20`.
    :raises ImageError: The archive does not exist, or is not the pinned version.
    """
    from microvm_image.download import DownloadError, fetch

    archive = archive_at(path, arch) if path else given(arch)
    if archive is not None:
        data = _read(archive, by_option=path is not None)
        found = alpine.source(data, arch, archive)
    elif kept := _cached_archive(arch):
        return kept
    elif data := packed(arch):
        return alpine.source(data, arch, guest_pack.distribution(arch))
    else:
        url = alpine.url(arch, mirror or os.environ.get("MICROVM_MIRROR") or alpine.MIRROR)
        report.step(f"downloading {url}")
        try:
            data = fetch(url, report)
        except DownloadError as error:
            return _without_alpine(arch, error, report)
        found = alpine.source(data, arch, url)
    _cache_archive(data, arch)
    return found


def find_alpine(arch: Arch, report: Reporter) -> None:
    """Get the Alpine archive, as `find` does, and keep it in the cache.

    :raises ImageError: The archive cannot be had. The error says how to provide it.
    """
    from microvm_image.download import DownloadError, fetch

    if given(arch) or _cached_archive(arch) or packed(arch):
        return
    url = alpine.url(arch, os.environ.get("MICROVM_MIRROR") or alpine.MIRROR)
    report.step(f"downloading {url}")
    try:
        data = fetch(url, report)
    except DownloadError as error:
        raise ImageError(
            f"no image alpine: {error.message}",
            hint=f"{_how_to_get_alpine(arch)}; without --image, the default image contains busybox",
        ) from error
    alpine.source(data, arch, url)
    _cache_archive(data, arch)


def _how_to_get_alpine(arch: Arch) -> str:
    return (
        f"set MICROVM_ROOTFS to the path of {alpine.archive_name(arch)}, or MICROVM_MIRROR to a "
        "mirror of Alpine"
    )


def _cached_archive(arch: Arch) -> ImageSource | None:
    path = cached(arch)
    try:
        return alpine.source(cache.read(path), arch, path)
    except (OSError, ImageError):
        return None


def _cache_archive(data: bytes, arch: Arch) -> None:
    """Try to store the Alpine archive in the cache, if it is not there. Ignore errors."""
    if _cached_archive(arch):
        return
    path = cached(arch)
    with suppress(OSError, CacheError), lock.attempt(path) as ours:
        if ours:
            with cache.staging(path) as temporary:
                temporary.write_bytes(data)


def _read(archive: Path, *, by_option: bool) -> bytes:
    name = "--rootfs" if by_option else "MICROVM_ROOTFS"
    without = "" if by_option else "; or `unset MICROVM_ROOTFS`"
    try:
        return cache.read(archive, _LIMIT, cache.open_plain)
    except OSError as error:
        raise ImageError(
            f"{name} names {archive}, which cannot be read: {error.strerror}",
            hint=f"{name} has to name Alpine's archive, or the folder that contains it{without}",
        ) from error


def _without_alpine(arch: Arch, error: ImageError, report: Reporter) -> ImageSource:
    from microvm_image.sources import busybox

    try:
        base = busybox.source(arch, report)
    except ImageError as second:
        raise ImageError(
            f"cannot get a root file system for the guest: {guest_pack.absence(arch)}; "
            f"{error.message}; {second.message}",
            # The hint suggests environment variables, because `microvm run` has no options to
            # choose the Alpine archive or the mirror from which it is downloaded.
            hint=f"{guest_pack.how_to_install(arch)}, or {_how_to_get_alpine(arch)}",
            detail=second.detail,
        ) from second
    report.notice(f"no Alpine archive ({error.message}): the image has {base.name} instead")
    return base

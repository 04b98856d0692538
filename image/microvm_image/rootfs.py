"""The root file system of an image: Alpine's, or busybox where Alpine's cannot be had."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from microvm.arch import Arch
from microvm.cache import lock
from microvm.cache import store as cache
from microvm.errors import ImageError
from microvm.progress import Reporter
from microvm_image.config import Config
from microvm_image.cpio import Entry
from microvm_image.layer import Member
from microvm_image.limits import Budget
from microvm_image.node import Folder, Node
from microvm_image.source import Source
from microvm_image.sources import alpine
from microvm_image.sources.alpine import Alpine


class Base(Protocol):
    """A root file system, whole and checked: `Alpine` or `Busybox`."""

    @property
    def name(self) -> str:
        """The kind of root file system and its version, such as `alpine-3.20.3`."""

    @property
    def sha256(self) -> str:
        """The SHA-256 of what the root file system is made from, in hex."""

    def entries(self) -> Iterator[Entry]:
        """Yield the members."""


@dataclass(frozen=True, slots=True)
class Bytes:
    """The content of a file, in memory."""

    data: bytes

    @property
    def size(self) -> int:
        """Its length in bytes."""
        return len(self.data)

    def chunks(self) -> Iterator[bytes]:
        """Yield all of it."""
        yield self.data


@dataclass(frozen=True, slots=True)
class BaseLayer:
    """A base as a layer."""

    base: Base

    @property
    def name(self) -> str:
        """The base's."""
        return self.base.name

    def members(self, files: ExitStack, budget: Budget) -> Iterator[Member]:
        """Yield the members."""
        del files  # all is in memory
        for entry in self.base.entries():
            budget.take_bytes(len(entry.data))
            facts = entry.mode, entry.uid, entry.gid
            if stat.S_ISDIR(entry.mode):
                yield entry.name, Folder(*facts)
            elif stat.S_ISLNK(entry.mode):
                yield entry.name, Node(*facts, target=os.fsdecode(entry.data))
            else:
                yield entry.name, Node(*facts, data=Bytes(entry.data))


def source(base: Base) -> Source:
    """Return a base as a source."""
    pinned = f"{base.name}@sha256:{base.sha256}"
    return Source(base.name, pinned, base.sha256, Config(), (BaseLayer(base),))


def given(arch: Arch) -> Path | None:
    """Return the archive that $MICROVM_ROOTFS names, if it is set."""
    named = os.environ.get("MICROVM_ROOTFS")
    return archive_at(Path(named), arch) if named else None


def archive_at(path: Path, arch: Arch) -> Path:
    """Return the path of the archive: the path given, or the archive's place in that folder."""
    return path / alpine.archive_name(arch) if path.is_dir() else path


def cached(arch: Arch) -> Path:
    """Return where the cache keeps the archive, there or not."""
    return cache.folder("downloads") / alpine.archive_name(arch)


def find(arch: Arch, path: Path | None, mirror: str | None, report: Reporter) -> Base:
    """Return the base for an image.

    The first of: `path`, $MICROVM_ROOTFS, the cache, `mirror` or $MICROVM_MIRROR or Alpine's own.
    Where none has the archive, the distribution's busybox, and a notice says so. An archive once
    found is kept in the cache, so that later images need neither the path nor the network.

    :param path: the archive, or a folder that holds it by its name.
    :param mirror: an address that has Alpine's `v3.20` under it.
    :raises ImageError: the archive is not there, or not the one that is pinned.
    """
    from microvm_image.download import DownloadError, fetch

    archive = archive_at(path, arch) if path else given(arch)
    if archive is not None:
        base = Alpine.check(_read(archive), arch, archive)
    elif kept := _cached_archive(arch):
        return kept
    else:
        url = alpine.url(arch, mirror or os.environ.get("MICROVM_MIRROR") or alpine.MIRROR)
        report.step(f"downloading {url}")
        try:
            base = Alpine.check(fetch(url, report), arch, url)
        except DownloadError as error:
            return _without_alpine(arch, error, report)
    _cache_archive(base, arch)
    return base


def _cached_archive(arch: Arch) -> Alpine | None:
    path = cached(arch)
    try:
        return Alpine.check(cache.read(path), arch, path)
    except (OSError, ImageError):
        return None


def _cache_archive(base: Alpine, arch: Arch) -> None:
    """Keep the archive in the cache, unless that fails or another process does it."""
    if _cached_archive(arch):
        return
    path = cached(arch)
    with suppress(OSError, ImageError), lock.attempt(path) as ours:
        if ours:
            with cache.staging(path) as temporary:
                temporary.write_bytes(base.data)


def _read(archive: Path) -> bytes:
    try:
        return archive.read_bytes()
    except OSError as error:
        raise ImageError(
            f"{archive}: cannot read the rootfs archive: {error.strerror}",
            hint="--rootfs and MICROVM_ROOTFS take the archive or the folder that holds it",
        ) from error


def _without_alpine(arch: Arch, error: ImageError, report: Reporter) -> Base:
    from microvm_image.sources.busybox import Busybox

    try:
        base = Busybox.fetch(arch, report)
    except ImageError as second:
        raise ImageError(
            f"no root file system can be had: {error.message}; {second.message}",
            hint="name an Alpine archive with --rootfs, or another mirror with --mirror",
            detail=second.detail,
        ) from second
    report.notice(f"no Alpine archive ({error.message}): the image has {base.name} instead")
    return base

"""The source that is an image of ours: what is on its disk, or else in its initramfs."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from microvm.arches import Arch
from microvm.errors import ImageError
from microvm_image import cpio
from microvm_image.erofs import ErofsLayer
from microvm_image.extent import Extent
from microvm_image.image import Image, load
from microvm_image.layer import Layer, Member
from microvm_image.limits import Budget
from microvm_image.programs import NAMES
from microvm_image.source import Source

_MODULE = re.compile(r"lib/modules/(\w+/)?\d+\.ko", re.ASCII)  # as `kernel.MODULES` has them


@dataclass(frozen=True, slots=True)
class InitramfsLayer:
    """An initramfs without what is our own in it: programs and modules."""

    name: str
    open: Callable[[ExitStack], Extent]

    def members(self, files: ExitStack, budget: Budget) -> Iterator[Member]:
        """Yield the members."""
        archive = self.open(files)
        budget.take_stored(archive.size)
        budget.take_bytes(archive.size)
        for path, node in cpio.read(archive, self.name):
            if path not in NAMES and not _MODULE.fullmatch(path):
                yield path, node


def find(image: str | Path, arch: Arch) -> Source:
    """Return an image as a source.

    :param image: as `microvm_image.load` takes it.
    :raises ImageError: there is none, it is damaged, or is for another architecture.
    """
    found = load(image)
    manifest = found.manifest
    if manifest.arch != arch.name:
        raise ImageError(
            f"{image}: is for {manifest.arch}, not for {arch.name}",
            hint="set the architecture of the guest by `microvm image build --arch`",
        )
    parts = f"{manifest.initramfs_sha256} {manifest.disk_sha256}"
    digest = hashlib.sha256(parts.encode()).hexdigest()
    name = str(image)
    pinned = f"{found.name}@sha256:{digest}"
    return Source(name, pinned, digest, manifest.config, (_layer(found),))


def _layer(image: Image) -> Layer:
    if disk := image.disk:
        return ErofsLayer(image.name, lambda files: Extent.of(disk, files))
    return InitramfsLayer(image.name, lambda files: Extent.of(image.initramfs, files))

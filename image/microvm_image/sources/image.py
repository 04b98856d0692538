"""The source that is an image of microvm, whose files are read from its disk or its initramfs."""

from __future__ import annotations

import hashlib
from pathlib import Path

from microvm.arches import Arch
from microvm.images import Image, load
from microvm_image.erofs import ErofsLayer
from microvm_image.file_range import FileRange
from microvm_image.initramfs_layer import InitramfsLayer
from microvm_image.layer import Layer
from microvm_image.source import ImageSource


def find(image: str | Path, arch: Arch) -> ImageSource:
    """Return an image of microvm as a source for another image.

    :param image: The name or path of the image, as `microvm.images.load` accepts it.
    :raises ImageError: The image does not exist, is damaged, or has another architecture.
    """
    found = load(image, arch.name)
    manifest = found.manifest
    parts = f"{manifest.initramfs_sha256} {manifest.disk_sha256}"
    digest = hashlib.sha256(parts.encode()).hexdigest()
    # A path or a digest does not say what the image contains, so replace it by the image's name.
    text = str(image)
    name = found.name if "/" in text or found.digest.startswith(text) else text
    pinned = f"{found.name}@sha256:{digest}"
    return ImageSource(name, pinned, digest, manifest.config, (_layer(found),))


def _layer(image: Image) -> Layer:
    if disk := image.disk:
        return ErofsLayer(image.name, lambda files: FileRange.of(disk, files))
    return InitramfsLayer(image.name, lambda files: FileRange.of(image.initramfs, files))

"""The source `docker://NAME`: an image in a registry."""

from __future__ import annotations

import hashlib
from contextlib import ExitStack
from typing import Any

from microvm.arches import Arch
from microvm.errors import ImageError
from microvm.progress import Reporter
from microvm.system.tools import require
from microvm.units import exact_size, format_size
from microvm_image import disk, skopeo
from microvm_image.file_range import FileRange
from microvm_image.limits import Limits, how_to_raise
from microvm_image.source import ImageSource
from microvm_image.sources import oci
from microvm_image.sources.files import parse_json
from microvm_image.tree import SMALL


def find(text: str, arch: Arch, limits: Limits, report: Reporter, files: ExitStack) -> ImageSource:
    """Return an image in a registry as a source for a new image.

    The layers of the image are downloaded when they are read.

    :param text: `docker://` and a reference, as docker writes it.
    :param files: The exit stack that removes the downloaded layers.
    :raises ImageError: The image cannot be downloaded, or is damaged.
    """
    report.step(f"looking up {text}")
    top = skopeo.look_up(text)

    def read(digest: str) -> Any:
        return skopeo.look_up(top.pinned(digest)).manifest

    digest, manifest = oci.select(top.manifest, read, text, arch)
    digest = digest or top.digest
    pinned = top.pinned(digest)
    config = skopeo.inspect(pinned, "--config", "--raw")
    expected = oci.descriptor(oci.member(manifest, "config", dict, text), text).digest
    if (actual := hashlib.sha256(config).hexdigest()) != expected:
        raise ImageError(f"{text}: wrong digest: the registry sent sha256:{actual} for {expected}")
    blobs = [oci.descriptor(entry, text) for entry in oci.member(manifest, "layers", list, text)]
    size = sum(blob.size for blob in blobs)
    if size > limits.unpacked:
        raise ImageError(
            f"{text}: is larger than it may be: {format_size(size)}, and at most "
            f"{exact_size(limits.unpacked)} are allowed",
            hint=how_to_raise("unpacked"),
        )
    pull = skopeo.Pull(pinned, size, limits.seconds, report, files)

    def fetched(blob: oci.BlobDescriptor, files: ExitStack) -> FileRange:
        if size > SMALL:  # the image needs a disk, because it is too large for an initramfs
            require(text, disk.TOOLS)
        return pull.open(blob, files)

    return oci.source(text, digest, manifest, parse_json(config, text), fetched, arch)

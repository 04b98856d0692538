"""The source of an image that is a folder of the host with an unpacked root file system."""

from __future__ import annotations

import hashlib
from pathlib import Path

from microvm.images.config import ImageConfig
from microvm_image.layer import HostLayer
from microvm_image.limits import Limits
from microvm_image.source import ImageSource
from microvm_image.tree import RootfsTree


def find(path: Path, limits: Limits) -> ImageSource:
    """Return a folder of the host as a source for a new image.

    The digest of the source is the digest of a tar archive with the files of the folder.

    :raises ImageError: A file cannot be read, or the folder exceeds the limits.
    """
    layer = HostLayer(path)
    digest = hashlib.sha256()
    name = path.resolve().name or "/"
    with RootfsTree(limits) as tree:
        tree.add(layer)
        tree.write_tar(digest.update)
    sha256 = digest.hexdigest()
    return ImageSource(name, f"{name}@sha256:{sha256}", sha256, ImageConfig(), (layer,))

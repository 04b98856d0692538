"""The source of an image that is a folder of the host with an unpacked root file system."""

from __future__ import annotations

import hashlib
from pathlib import Path

from microvm.images.config import ImageConfig
from microvm_image.layer import HostLayer
from microvm_image.limits import Limits
from microvm_image.source import ImageSource
from microvm_image.tree import RootfsTree


class _Digest:
    """A file object that stores nothing, but computes a digest of everything written to it."""

    def __init__(self) -> None:
        self._sha256 = hashlib.sha256()

    def write(self, data: bytes) -> int:
        self._sha256.update(data)
        return len(data)

    def hexdigest(self) -> str:
        return self._sha256.hexdigest()


def find(path: Path, limits: Limits) -> ImageSource:
    """Return a folder of the host as a source for a new image.

    The digest of the source is the digest of a tar archive with the files of the folder.

    :raises ImageError: A file cannot be read, or the folder exceeds the limits.
    """
    layer = HostLayer(path)
    digest = _Digest()
    name = path.resolve().name or "/"
    with RootfsTree(limits) as tree:
        tree.add(layer)
        tree.write_tar(digest)
    sha256 = digest.hexdigest()
    return ImageSource(name, f"{name}@sha256:{sha256}", sha256, ImageConfig(), (layer,))

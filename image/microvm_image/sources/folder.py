"""The source that is a folder of the host: a root file system, unpacked."""

from __future__ import annotations

import hashlib
from pathlib import Path

from microvm.images.config import ImageConfig
from microvm_image.layer import HostLayer
from microvm_image.limits import Limits
from microvm_image.source import ImageSource
from microvm_image.tree import RootfsTree


class _Digest:
    """A file that is only digested."""

    def __init__(self) -> None:
        self._sha256 = hashlib.sha256()

    def write(self, data: bytes) -> int:
        self._sha256.update(data)
        return len(data)

    def hexdigest(self) -> str:
        return self._sha256.hexdigest()


def find(path: Path, limits: Limits) -> ImageSource:
    """Return a folder as a source; its digest is that of a tar archive of it.

    :raises ImageError: something in it cannot be read, or it is beyond the limits.
    """
    layer = HostLayer(path)
    digest = _Digest()
    name = path.resolve().name or "/"
    with RootfsTree(limits) as tree:
        tree.add(layer)
        tree.write_tar(digest)
    sha256 = digest.hexdigest()
    return ImageSource(name, f"{name}@sha256:{sha256}", sha256, ImageConfig(), (layer,))

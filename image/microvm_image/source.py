"""A source of images: a root file system as layers, and what is known before they are read."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from microvm.images.config import ImageConfig
from microvm_image.layer import Layer
from microvm_image.limits import Limits
from microvm_image.tree import RootfsTree


@dataclass(frozen=True, slots=True)
class ImageSource:
    """A source that was found, as it was at that moment.

    :ivar name: what people call it: `alpine-3.20.3`, `docker://python:3.13`, a file's name.
    :ivar pinned: the same with what it was: a digest, or the versions of its packages.
    :ivar digest: the SHA-256 over all that it is made from, in hex; no other has the same.
    :ivar config: what a run has by default.
    :ivar layers: the layers, the lowest first; they are read when a tree takes them.
    """

    name: str
    pinned: str
    digest: str
    config: ImageConfig
    layers: tuple[Layer, ...]

    @contextmanager
    def tree(self, limits: Limits | None = None) -> Iterator[RootfsTree]:
        """Yield the layers, merged.

        :raises ImageError: one is damaged, is not what it should be, or is beyond the limits.
        """
        with RootfsTree(limits) as tree:
            for layer in self.layers:
                tree.add(layer)
            yield tree

"""The class for a source of an image: a root file system in layers, which are not read yet."""

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
    """A source from which an image is built, such as an image in a registry.

    :ivar name: The name for the user, such as `alpine-3.20.3`, `docker://python:3.13`, or a file
        name.
    :ivar pinned: The name together with a digest or with the versions of the packages.
    :ivar digest: The SHA-256 of everything in the source, in hex, which identifies the source.
    :ivar config: The default options of commands in the image.
    :ivar layers: The layers, the lowest first. `tree` reads them.
    :ivar install: The command that installs the packages in a machine, if the layers contain
        packages that are not installed yet; otherwise empty.
    """

    name: str
    pinned: str
    digest: str
    config: ImageConfig
    layers: tuple[Layer, ...]
    install: tuple[str, ...] = ()

    @contextmanager
    def tree(self, limits: Limits | None = None) -> Iterator[RootfsTree]:
        """Context manager that merges all layers, and yields the resulting root file system.

        :raises ImageError: A layer is damaged, exceeds the limits, or differs from its digest.
        """
        with RootfsTree(limits) as tree:
            for layer in self.layers:
                tree.add(layer)
            yield tree

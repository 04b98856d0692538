"""The sources that are one tar archive: a root file system, or an image as others store it."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from microvm.arch import Arch
from microvm.errors import ImageError
from microvm_image.compression import spooled, unpacked
from microvm_image.config import Config
from microvm_image.extent import CHUNK, Extent
from microvm_image.layer import TarLayer, sha256
from microvm_image.limits import Budget, Limits
from microvm_image.source import Source
from microvm_image.sources import docker_archive, oci
from microvm_image.sources.files import FolderFiles, TarFiles
from microvm_image.tree import Tree

STDIN = "-"

_STORED = re.compile(
    r"(\./)?([0-9a-f]{64}(\.json|\.tar)?|blobs|index\.json|manifest\.json|oci-layout|repositories)(/.*)?"
)
"""What is in stored images, and at the top of a root file system not."""


def find(path: str, tag: str, arch: Arch, limits: Limits, files: ExitStack) -> Source:
    """Return what an archive holds: an image, or else a root file system.

    :param path: of the archive; `-` for standard input.
    :param tag: which of its images, where it has more than one; "" for the only one.
    :param files: what closes it.
    :raises ImageError: it is no tar archive, or is damaged, or beyond the limits.
    """
    budget = Budget(limits)
    if path == STDIN:
        packed = spooled(_input(budget), files)
        budget = Budget(limits)  # which is not spent by what is compressed
    else:
        packed = _opened(Path(path), files)
    name = path if path == STDIN else Path(path).name
    plain = unpacked(packed, name, files, budget)
    layer = TarLayer(name, lambda _: plain)
    if _is_stored_image(layer, limits):
        tree = files.enter_context(Tree(limits))
        tree.add(layer)
        stored = TarFiles(tree, name)
        if stored.has(oci.LAYOUT) and stored.has(oci.INDEX):
            return oci.find(stored, name, tag, arch)
        if stored.has(docker_archive.INDEX):
            return docker_archive.find(stored, name, tag, arch)
    if tag:
        raise ImageError(f"{name}: is a root file system, and has no image {tag!r} in it")
    digest = sha256(packed)
    return Source(name, f"{name}@sha256:{digest}", digest, Config(), (layer,))


def find_layout(path: Path, tag: str, arch: Arch) -> Source:
    """Return the image of an OCI layout that is a folder.

    :raises ImageError: there is none, or it is damaged.
    """
    return oci.find(FolderFiles(path), path.resolve().name, tag, arch)


def is_layout(path: Path) -> bool:
    """Tell whether a folder is an OCI layout."""
    return (path / oci.LAYOUT).is_file() and (path / oci.INDEX).is_file()


def _opened(path: Path, files: ExitStack) -> Extent:
    try:
        return Extent.of(path, files)
    except OSError as error:
        raise ImageError(f"{path}: cannot read it: {error.strerror}") from error


def _input(budget: Budget) -> Iterator[bytes]:
    if sys.stdin.isatty():
        raise ImageError("standard input is a terminal", hint="docker save x | … --from -")
    while chunk := sys.stdin.buffer.read(CHUNK):
        budget.take_bytes(len(chunk))
        yield chunk


def _is_stored_image(layer: TarLayer, limits: Limits) -> bool:
    """Tell whether only what images are stored as is in an archive, which its first names show."""
    with ExitStack() as files:
        members = layer.members(files, Budget(limits))
        return all(_STORED.fullmatch(path) or path == "." for path, _ in members)

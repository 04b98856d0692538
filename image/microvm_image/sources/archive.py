"""The sources of images that are tar archives: of a root file system, or from `docker save`."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Set
from contextlib import ExitStack
from pathlib import Path

from microvm.arches import Arch
from microvm.errors import ImageError
from microvm.images.config import ImageConfig
from microvm_image.compression import spooled, unpacked
from microvm_image.file_range import CHUNK, FileRange
from microvm_image.layer import TarLayer, sha256
from microvm_image.limits import Budget, Limits
from microvm_image.source import ImageSource
from microvm_image.sources import docker_archive, oci
from microvm_image.sources.files import Files, FolderFiles, TarFiles
from microvm_image.tree import RootfsTree

STDIN = "-"

KINDS = {"oci": "OCI layout", "docker-archive": "archive of `docker save`"}
"""The formats of stored images, by the word before PATH:NAME in `--from`."""

_STORED = re.compile(
    r"(\./)?([0-9a-f]{64}(\.json|\.tar)?|blobs|index\.json|manifest\.json|oci-layout|repositories)(/.*)?"
)
"""A pattern for the names in the archive of a stored image. Other names show that an archive
contains a root file system."""


def find(path: str, arch: Arch, limits: Limits, files: ExitStack) -> ImageSource:
    """Return the tar archive at `path`, or on standard input for `-`, as a source for a new image.

    The archive contains one stored image, or a root file system.

    :param files: The exit stack that closes the archive.
    :raises ImageError: The file is no tar archive, is empty or damaged, or exceeds the limits.
    """
    packed, layer = _layer(path, limits, files)
    if found := _stored_image(layer, set(KINDS), "", arch, limits, files):
        return found
    digest = sha256(packed)
    return ImageSource(layer.name, f"{layer.name}@sha256:{digest}", digest, ImageConfig(), (layer,))


def find_stored(
    kind: str, path: Path, tag: str, arch: Arch, limits: Limits, files: ExitStack
) -> ImageSource:
    """Return the image `tag` at `path`, stored in the format `kind`, as a source for a new image.

    :param kind: The format in which another tool has stored the image, one of `KINDS`.
    :param tag: The name of the image; "" if the archive contains only one image.
    :param files: The exit stack that closes the archive.
    :raises ImageError: The file has another format, lacks the image, is damaged, or exceeds the
        limits.
    """
    if path.is_dir():
        if kind == "oci" and is_layout(path):
            return find_layout(path, tag, arch)
    else:
        _, layer = _layer(str(path), limits, files)
        if found := _stored_image(layer, {kind}, tag, arch, limits, files):
            return found
    raise ImageError(
        f"{path}: is no {KINDS[kind]}",
        hint="a path without a prefix can be a stored image or a root file system",
    )


def _layer(path: str, limits: Limits, files: ExitStack) -> tuple[FileRange, TarLayer]:
    """Open an archive. Return it as a range of bytes, and as a layer of a root file system."""
    budget = Budget(limits)
    if path == STDIN:
        packed = spooled(_input(budget), files)
        # Reading the archive from standard input has used up a part of the limits in `budget`.
        # Begin a new budget, because `unpacked` below counts the same bytes again.
        budget = Budget(limits)
    else:
        packed = _opened(Path(path), files)
    name = path if path == STDIN else Path(path).name
    with budget.reading(name):
        plain = unpacked(packed, name, files, budget)
    return packed, TarLayer(name, lambda _: plain)


def _stored_image(
    layer: TarLayer, kinds: Set[str], tag: str, arch: Arch, limits: Limits, files: ExitStack
) -> ImageSource | None:
    """Return the image `tag` in an archive; None if the archive has none of the formats `kinds`."""
    if not _has_stored_names(layer, limits):
        return None
    tree = files.enter_context(RootfsTree(limits))
    tree.add(layer)
    if not any(path for path, _ in tree.walk()):
        raise ImageError(f"{layer.name}: the archive is empty", hint="scratch is an empty image")
    stored = TarFiles(tree, layer.name)
    if "oci" in kinds and _has_layout(stored):
        return oci.find(stored, layer.name, tag, arch)
    if "docker-archive" in kinds and stored.has(docker_archive.INDEX):
        return docker_archive.find(stored, layer.name, tag, arch)
    return None


def _has_layout(stored: Files) -> bool:
    return stored.has(oci.LAYOUT) and stored.has(oci.INDEX)


def find_layout(path: Path, tag: str, arch: Arch) -> ImageSource:
    """Return the image called `tag` in the OCI layout at `path`, as a source for a new image.

    :param tag: The name of the image; "" if the layout has only one image.
    :raises ImageError: The layout is empty or damaged.
    """
    return oci.find(FolderFiles(path), path.resolve().name, tag, arch)


def is_layout(path: Path) -> bool:
    """Return True if a folder is an OCI layout."""
    return _has_layout(FolderFiles(path))


def _opened(path: Path, files: ExitStack) -> FileRange:
    try:
        return FileRange.of(path, files)
    except OSError as error:
        raise ImageError(f"{path}: cannot read it: {error.strerror}") from error


def _input(budget: Budget) -> Iterator[bytes]:
    if sys.stdin.isatty():
        raise ImageError(
            "standard input is a terminal", hint="docker save x | microvm image build x --from -"
        )
    while chunk := sys.stdin.buffer.read(CHUNK):
        budget.take_bytes(len(chunk))
        yield chunk


def _has_stored_names(layer: TarLayer, limits: Limits) -> bool:
    """Return True if an archive has only names that archives of stored images have."""
    with ExitStack() as files:
        budget = Budget(limits)
        with budget.reading(layer.name):
            for path, _ in layer.members(files, budget):
                budget.take_member(len(path))
                if not _STORED.fullmatch(path) and path != ".":
                    return False
    return True

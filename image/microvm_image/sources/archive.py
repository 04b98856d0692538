"""The sources that are one tar archive: a root file system, or an image as others store it."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
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

KINDS = {"oci": "OCI layout", "docker-archive": "archive that `docker save` has written"}
"""What images are stored as, by what stands before PATH:NAME."""

_STORED = re.compile(
    r"(\./)?([0-9a-f]{64}(\.json|\.tar)?|blobs|index\.json|manifest\.json|oci-layout|repositories)(/.*)?"
)
"""What is in stored images, and at the top of a root file system not."""


def find(path: str, arch: Arch, limits: Limits, files: ExitStack) -> ImageSource:
    """Return what an archive holds: its only image, or else a root file system.

    :param path: of the archive; `-` for standard input.
    :param files: what closes it.
    :raises ImageError: it is no tar archive, has nothing in it, is damaged, or beyond the limits.
    """
    packed, layer = _layer(path, limits, files)
    if stored := _stored(layer, limits, files):
        if _has_layout(stored):
            return oci.find(stored, layer.name, "", arch)
        if stored.has(docker_archive.INDEX):
            return docker_archive.find(stored, layer.name, "", arch)
    digest = sha256(packed)
    return ImageSource(layer.name, f"{layer.name}@sha256:{digest}", digest, ImageConfig(), (layer,))


def find_stored(
    kind: str, path: Path, tag: str, arch: Arch, limits: Limits, files: ExitStack
) -> ImageSource:
    """Return an image of those that are stored in a folder or an archive.

    :param kind: which of `KINDS` it must be.
    :param tag: which of its images; "" for the only one.
    :param files: what closes it.
    :raises ImageError: it is of another kind, has no such image, is damaged, or beyond the limits.
    """
    if path.is_dir():
        if kind == "oci" and is_layout(path):
            return find_layout(path, tag, arch)
    else:
        _, layer = _layer(str(path), limits, files)
        if stored := _stored(layer, limits, files):
            if kind == "oci" and _has_layout(stored):
                return oci.find(stored, layer.name, tag, arch)
            if kind == "docker-archive" and stored.has(docker_archive.INDEX):
                return docker_archive.find(stored, layer.name, tag, arch)
    raise ImageError(
        f"{path}: is no {KINDS[kind]}",
        hint="a path alone is taken for what it is: an image as others store it, or a root file "
        "system",
    )


def _layer(path: str, limits: Limits, files: ExitStack) -> tuple[FileRange, TarLayer]:
    """Return an archive as it is stored, and as a layer."""
    budget = Budget(limits)
    if path == STDIN:
        packed = spooled(_input(budget), files)
        budget = Budget(limits)  # which is not spent by what is compressed
    else:
        packed = _opened(Path(path), files)
    name = path if path == STDIN else Path(path).name
    with budget.reading(name):
        plain = unpacked(packed, name, files, budget)
    return packed, TarLayer(name, lambda _: plain)


def _stored(layer: TarLayer, limits: Limits, files: ExitStack) -> TarFiles | None:
    """Return the files of an archive, if all that is in it is what images are stored as.

    :raises ImageError: there is nothing in it.
    """
    if not _is_stored_image(layer, limits):
        return None
    tree = files.enter_context(RootfsTree(limits))
    tree.add(layer)
    if not any(path for path, _ in tree.walk()):
        raise ImageError(f"{layer.name}: there is nothing in it", hint="scratch is an empty image")
    return TarFiles(tree, layer.name)


def _has_layout(stored: Files) -> bool:
    return stored.has(oci.LAYOUT) and stored.has(oci.INDEX)


def find_layout(path: Path, tag: str, arch: Arch) -> ImageSource:
    """Return the image of an OCI layout that is a folder.

    :raises ImageError: there is none, or it is damaged.
    """
    return oci.find(FolderFiles(path), path.resolve().name, tag, arch)


def is_layout(path: Path) -> bool:
    """Tell whether a folder is an OCI layout."""
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


def _is_stored_image(layer: TarLayer, limits: Limits) -> bool:
    """Tell whether only what images are stored as is in an archive, which its first names show."""
    with ExitStack() as files:
        budget = Budget(limits)
        with budget.reading(layer.name):
            for path, _ in layer.members(files, budget):
                budget.take_member(len(path))
                if not _STORED.fullmatch(path) and path != ".":
                    return False
    return True

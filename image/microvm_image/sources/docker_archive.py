"""Reads archives of `docker save` and `podman save`: a list of images, their configs and layers.

Archives of newer versions of docker are also OCI layouts, and are read as OCI layouts. In the older
format, only the config contains digests of the layers. They are digests of the decompressed layers,
so each layer is decompressed and compared with its digest.
"""

from __future__ import annotations

import re
from contextlib import ExitStack
from typing import Any

from microvm.arches import Arch
from microvm.errors import ImageError
from microvm_image.layer import TarLayer, sha256
from microvm_image.source import ImageSource
from microvm_image.sources import oci
from microvm_image.sources.files import Files, read_json

INDEX = "manifest.json"


def find(stored: Files, name: str, tag: str, arch: Arch) -> ImageSource:
    """Return the image `tag` of the `docker save` archive `name` as a source for a new image.

    :param stored: The files of the archive.
    :param name: The name of the archive, for messages.
    :param tag: The name of the image, as `docker image ls` shows it; "" if the archive has only
        one image.
    :raises ImageError: There is no such image, or more than one; or the archive is damaged.
    """
    entry = _chosen(read_json(stored, INDEX), name, tag)
    path = oci.member(entry, "Config", str, name)
    config = read_json(stored, path)
    with ExitStack() as files:
        digest = sha256(stored.open(path, files))
    named = re.search(r"([0-9a-f]{64})(\.json)?$", path)
    if named and named[1] != digest:
        raise ImageError(f"{name}: wrong digest: the SHA-256 of {path} is {digest}")
    paths = oci.member(entry, "Layers", list, name)
    diff_ids = oci.checked_config(config, name, arch)
    if len(paths) != len(diff_ids) or not all(isinstance(path, str) for path in paths):
        raise ImageError(
            f"{name}: damaged: {INDEX} has {len(paths)} layers, its config {len(diff_ids)}"
        )

    layers = tuple(
        TarLayer(
            f"{name}, layer {number} of {len(paths)}",
            lambda files, path=path: stored.open(path, files),  # type: ignore[misc]
            diff_id=diff_id,
        )
        for number, (path, diff_id) in enumerate(zip(paths, diff_ids, strict=True), start=1)
    )
    called = f"{name}:{tag}" if tag else name
    return ImageSource(
        called, oci.pinned(called, digest), digest, oci.run_config(config, name), layers
    )


def _chosen(entries: Any, name: str, tag: str) -> Any:
    if not isinstance(entries, list) or not entries:
        raise ImageError(f"{name}: there is no image in it")
    tags = [oci.member(entry, "RepoTags", list, name) for entry in entries]
    if tag:
        chosen = [
            entry
            for entry, called in zip(entries, tags, strict=True)
            if tag in called or f"{tag}:latest" in called
        ]
    else:
        chosen = entries
    if len(chosen) == 1:
        return chosen[0]
    known = oci.listed(sorted(str(one) for called in tags for one in called)) or "of no name"
    raise ImageError(
        f"{name}: there is no image {tag!r} in it, but: {known}"
        if tag
        else f"{name}: has more than one image: {known}",
        hint="choose one: `--from docker-archive:PATH:NAME`",
    )

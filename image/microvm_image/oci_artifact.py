"""Stores exported images and snapshots in a registry, as OCI artifacts.

An artifact is a manifest with an artifact type, an empty config and one layer, which is the
unchanged exported file (image-spec, "Guidelines for Artifact Usage").

The registry may be hostile. This module checks that the file has the size and the digest in the
manifest, but the registry can send another manifest. So the caller must compare the content of the
file with the expected content.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from microvm import cache
from microvm.cache import lock
from microvm.errors import ImageError
from microvm.progress import NullReporter, Reporter
from microvm.units import exact_size
from microvm_image import skopeo
from microvm_image.file_range import FileRange
from microvm_image.layer import sha256
from microvm_image.sources import oci

TYPE = "application/vnd.microvm.export.v1"
LAYER_TYPE = f"{TYPE}.tar+zstd"

_EMPTY = b"{}"
_SECONDS = 3600  # maximum time for the transfer of an artifact, in seconds


def push(text: str, write: Callable[[BinaryIO], None], report: Reporter | None = None) -> None:
    """Upload the file that `write` produces to a registry as `text`, unless it exists there.

    :param text: `docker://HOST/REPOSITORY:TAG`, with a tag that identifies the content of the file.
    :raises ImageError: The registry cannot be reached, refuses the artifact, or has something else
        under that tag.
    :raises CacheError: The disk is full.
    """
    report = report or NullReporter()
    name = hashlib.sha256(text.encode()).hexdigest()[:16]
    path = cache.folder("downloads") / f"push-{name}"
    with cache.disk_errors(), lock.held(path, report):
        try:
            _only_layer(skopeo.look_up(text).manifest, text)
        except skopeo.MissingError:
            with cache.scratch(path) as folder:
                folder.mkdir()
                _lay_out(folder, write)
                report.step(f"pushing {text}")
                skopeo.push(folder, text, _SECONDS)


@contextmanager
def pull(text: str, limit: int, report: Reporter | None = None) -> Iterator[BinaryIO]:
    """Context manager that yields a file that `push` has uploaded as `text`, after downloading it.

    The file is removed at the end of the block.

    :param text: `docker://HOST/REPOSITORY:TAG`.
    :param limit: Maximum size of the file, in bytes.
    :raises ImageError: There is no such artifact, or the registry cannot be reached, stops sending,
        or sends something else.
    """
    report = report or NullReporter()
    found = skopeo.look_up(text)
    layer = _only_layer(found.manifest, text)
    if layer.size > limit:
        raise ImageError(f"{text}: has {layer.size} bytes, of at most {exact_size(limit)}")
    with ExitStack() as files:
        fetched = skopeo.Pull(found.pinned(found.digest), layer.size, _SECONDS, report, files)
        extent = fetched.open(layer, files)
        if extent.size != layer.size or sha256(extent) != layer.digest:
            raise ImageError(f"{text}: damaged: the file differs from its manifest")
        yield files.enter_context(open(extent.descriptor, "rb", closefd=False))


def _lay_out(folder: Path, write: Callable[[BinaryIO], None]) -> None:
    """Write the files of an artifact to a folder in skopeo's format `dir:`.

    `write` writes the exported file, which is the artifact's only layer.
    """
    made = folder / "layer"
    with made.open("w+b") as out:
        write(out)
        out.flush()
        content = FileRange(out.fileno(), 0, out.tell())
        digest = sha256(content)
    layer = _descriptor(LAYER_TYPE, digest, content.size)
    made.rename(folder / digest)
    digest = hashlib.sha256(_EMPTY).hexdigest()
    (folder / digest).write_bytes(_EMPTY)
    manifest = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "artifactType": TYPE,
        "config": _descriptor("application/vnd.oci.empty.v1+json", digest, len(_EMPTY)),
        "layers": [layer],
    }
    (folder / "manifest.json").write_text(json.dumps(manifest))


def _descriptor(kind: str, digest: str, size: int) -> dict[str, object]:
    return {"mediaType": kind, "digest": f"sha256:{digest}", "size": size}


def _only_layer(manifest: Any, name: str) -> oci.BlobDescriptor:
    """Check the manifest of the artifact `name`, and return the only layer in the manifest."""
    layers = oci.member(manifest, "layers", list, name)
    types = [oci.member(layer, "mediaType", str, name) for layer in layers]
    if manifest.get("artifactType") != TYPE or types != [LAYER_TYPE]:
        raise ImageError(
            f"{name}: the registry has something else under this tag",
            hint="use a repository that contains only exports of microvm",
        )
    return oci.descriptor(layers[0], name)

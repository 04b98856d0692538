"""Reads OCI images: chooses an image from an index, and reads its manifest, config and layers.

Everything except the index is named by its digest, and is compared with this digest (image-spec).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import islice
from typing import Any

from microvm.arches import Arch
from microvm.errors import ImageError
from microvm.images.config import ImageConfig
from microvm_image.file_range import FileRange
from microvm_image.layer import TarLayer
from microvm_image.source import ImageSource
from microvm_image.sources.files import Files, read_json

INDEX = "index.json"
LAYOUT = "oci-layout"

_DIGEST = re.compile(r"sha256:([0-9a-f]{64})", re.ASCII)
_PINNED = re.compile(r"@sha256:[0-9a-f]{64}$", re.ASCII)
_REF = "org.opencontainers.image.ref.name"
_NESTED = 4  # maximum depth of nesting, because an index may refer to other indexes
_ENTRIES = 10_000  # maximum number of images in an index
_SHOWN = 10  # maximum number of image names that an error message lists
_SIZE_END = 1 << 63

Read = Callable[[str], Any]
"""A function that gets a digest, reads the JSON file with that digest, and returns its value."""


@dataclass(frozen=True, slots=True)
class BlobDescriptor:
    """A reference to a blob, by its SHA-256 in hex and its size in bytes."""

    digest: str
    size: int

    @property
    def path(self) -> str:
        """Path of the blob's file in an OCI layout."""
        return f"blobs/sha256/{self.digest}"


def member(value: Any, key: str, kind: type, name: str) -> Any:
    """Return the member `key` of the JSON object `value`; if it is missing or null, `kind()`.

    :param kind: The type of the member, such as `list`.
    :param name: The file with the object, for messages.
    :raises ImageError: The member has another type, or `value` is no object.
    """
    if not isinstance(value, dict):
        raise ImageError(f"{name}: damaged: a value is not an object")
    found = value.get(key)
    if found is None:
        return kind()
    if type(found) is not kind:
        raise ImageError(f"{name}: damaged: {key} has the wrong type")
    return found


def descriptor(value: Any, name: str) -> BlobDescriptor:
    """Convert `value`, a JSON object from the file `name`, to a descriptor of a blob.

    :raises ImageError: The object is no descriptor, or its digest is no SHA-256.
    """
    digest = member(value, "digest", str, name)
    size = member(value, "size", int, name)
    if not (match := _DIGEST.fullmatch(digest)) or not 0 <= size < _SIZE_END:
        shown = size if abs(size) < _SIZE_END else "beyond any file's"
        raise ImageError(f"{name}: damaged: {digest[:80]!r} of size {shown} is no valid content")
    return BlobDescriptor(match[1], size)


def find(stored: Files, name: str, tag: str, arch: Arch) -> ImageSource:
    """Return the image `tag` of the OCI layout `name` as a source for a new image.

    :param stored: The files of the layout.
    :param name: The name of the layout, for messages.
    :param tag: The name of the image; "" if the layout has only one image.
    :raises ImageError: There is no such image, or more than one; or the layout is damaged.
    """
    index = read_json(stored, INDEX)
    entries = [entry for entry in _manifests(index, name) if _is_called(entry, tag)]
    if not entries:
        raise ImageError(f"{name}: there is no image {tag!r} in it" if tag else f"{name}: is empty")
    fitting = list(_fitting(index | {"manifests": entries}, name, arch))
    if len({descriptor(entry, name).digest for entry in fitting}) > 1:
        names = sorted({member(_annotations(entry), _REF, str, name) for entry in entries})
        raise ImageError(
            f"{name}: has more than one image: {listed(map(repr, names))}",
            hint="choose one: `--from oci:PATH:NAME`",
        )

    def read(digest: str) -> Any:
        return read_json(stored, f"blobs/sha256/{digest}", digest)

    digest, manifest = select(index | {"manifests": entries}, read, name, arch)
    config = read(descriptor(member(manifest, "config", dict, name), name).digest)
    called = f"{name}:{tag}" if tag else name
    return source(
        called, digest, manifest, config, lambda blob, files: stored.open(blob.path, files), arch
    )


def listed(names: Iterable[str]) -> str:
    """Return names as text for a message: at most ten, each shortened to 80 characters.

    An untrusted image contains these names, which may be many and long.
    """
    first = [name if len(name) <= 80 else f"{name[:79]}…" for name in islice(names, _SHOWN + 1)]
    return ", ".join(first[:_SHOWN]) + (", …" if len(first) > _SHOWN else "")


def _manifests(index: Any, name: str) -> list[Any]:
    entries: list[Any] = member(index, "manifests", list, name)
    if len(entries) > _ENTRIES:
        raise ImageError(
            f"{name}: damaged: its index has {len(entries):,} images, more than {_ENTRIES:,}",
            hint="name one of them by its digest, or copy it alone with skopeo",
        )
    return entries


def _annotations(entry: Any) -> Any:
    return member(entry, "annotations", dict, INDEX)


def _is_called(entry: Any, tag: str) -> bool:
    called = _annotations(entry).get(_REF)
    # ignore an entry that is not an image, but describes one, such as an attestation
    is_other = "vnd.docker.reference.type" in _annotations(entry)
    return not is_other and (not tag or called == tag or str(called).endswith(f":{tag}"))


def select(index: Any, read: Read, name: str, arch: Arch) -> tuple[str, Any]:
    """Choose the manifest for `arch` from an index of the image `name`; return its digest and JSON.

    :param index: An index; or a manifest, which is returned with the digest "".
    :param read: A function that reads the manifest with a digest.
    :raises ImageError: There is no image for the architecture, or indexes are nested too deeply.
    """
    digest = ""
    for _ in range(_NESTED):
        if "manifests" not in index:
            return digest, index
        entries = list(_fitting(index, name, arch))
        if not entries:
            known = {_platform(entry, name) for entry in index["manifests"]} - {"", "unknown"}
            raise ImageError(
                f"{name}: is not for {arch.name}, but for {listed(sorted(known)) or 'nothing'}",
                hint="set the architecture of the guest by `microvm image build --arch`",
            )
        digest = descriptor(entries[0], name).digest
        index = read(digest)
        if not isinstance(index, dict):
            raise ImageError(f"{name}: damaged: a manifest is no object")
    raise ImageError(f"{name}: its indexes are nested too deeply")


def _fitting(index: Any, name: str, arch: Arch) -> Iterator[Any]:
    entries = _manifests(index, name)
    yield from (entry for entry in entries if _platform(entry, name) == arch.debian)
    yield from (entry for entry in entries if not member(entry, "platform", dict, name))


def _platform(entry: Any, name: str) -> str:
    platform = member(entry, "platform", dict, name)
    system = member(platform, "os", str, name)
    architecture = member(platform, "architecture", str, name)
    return str(architecture) if system in {"", "linux"} else f"{system}/{architecture}"


def source(
    name: str,
    digest: str,
    manifest: Any,
    config: Any,
    opened: Callable[[BlobDescriptor, ExitStack], FileRange],
    arch: Arch,
) -> ImageSource:
    """Return the OCI image with this manifest and config as a source; `opened` opens its layers.

    :param opened: A function that opens the blob of a layer.
    :raises ImageError: The manifest and the config contradict each other, or the image has another
        architecture.
    """
    blobs = [descriptor(entry, name) for entry in member(manifest, "layers", list, name)]
    diff_ids = checked_config(config, name, arch)
    if len(blobs) != len(diff_ids):
        raise ImageError(
            f"{name}: damaged: its manifest has {len(blobs)} layers, its config {len(diff_ids)}"
        )

    def sized(blob: BlobDescriptor, files: ExitStack) -> FileRange:
        extent = opened(blob, files)
        if extent.size != blob.size:
            raise ImageError(
                f"{name}: layer {blob.digest[:12]} has {extent.size} bytes, not {blob.size}",
                hint="it is damaged or was cut short; get it again",
            )
        return extent

    layers = tuple(
        TarLayer(
            f"{name}, layer {number} of {len(blobs)}",
            lambda files, blob=blob: sized(blob, files),  # type: ignore[misc]
            digest=blob.digest,
            diff_id=diff_id,
        )
        for number, (blob, diff_id) in enumerate(zip(blobs, diff_ids, strict=True), start=1)
    )
    return ImageSource(name, pinned(name, digest), digest, run_config(config, name), layers)


def pinned(name: str, digest: str) -> str:
    """Return an image's `name` with a digest, in place of a digest that it has already."""
    return f"{_PINNED.sub('', name)}@sha256:{digest}"


def checked_config(config: Any, name: str, arch: Arch) -> list[str]:
    """Check the config of the image `name`; return the digests of its decompressed layers, in hex.

    :raises ImageError: The value is no config, or the image has another architecture.
    """
    architecture = member(config, "architecture", str, name)
    system = member(config, "os", str, name)
    if architecture not in {"", arch.debian} or system not in {"", "linux"}:
        raise ImageError(
            f"{name}: is for {system or 'linux'}/{architecture}, not for {arch.name}",
            hint="set the architecture of the guest by `microvm image build --arch`",
        )
    found = []
    for diff_id in member(member(config, "rootfs", dict, name), "diff_ids", list, name):
        if not isinstance(diff_id, str) or not (match := _DIGEST.fullmatch(diff_id)):
            raise ImageError(f"{name}: damaged: {str(diff_id)[:80]!r} is no digest")
        found.append(match[1])
    if "rootfs" not in config:
        raise ImageError(f"{name}: is no image: its config names no layers")
    return found


def run_config(config: Any, name: str) -> ImageConfig:
    """Return the default options of commands from `config`, that of the OCI image `name`.

    :raises ImageError: An option is invalid.
    """
    run = member(config, "config", dict, name)

    def texts(key: str) -> tuple[str, ...]:
        values = member(run, key, list, name)
        if not all(isinstance(value, str) for value in values):
            raise ImageError(f"{name}: damaged: {key} is no list of texts")
        return tuple(values)

    try:
        return ImageConfig(
            env=texts("Env"),
            workdir=member(run, "WorkingDir", str, name),
            user=member(run, "User", str, name),
            entrypoint=texts("Entrypoint"),
            cmd=texts("Cmd"),
        ).check()
    except ValueError as error:
        raise ImageError(f"{name}: its config cannot be used: {error}") from error

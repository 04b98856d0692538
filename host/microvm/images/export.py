"""An exported image: one file, which another machine imports.

It has these members, in this order: `manifest.json`; `tags.json`, a list of the tags that the image
had; and its files, by the names that they have in its folder.

Each has the size and the digest that the manifest says, or is refused. What the image is called is
a claim, too: it stands in for none that is there, and no build takes it for its own.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from microvm import cache, export_archive
from microvm.cache import lock, verified
from microvm.errors import CacheError, ImageError
from microvm.images import (
    IMPORTED,
    MANIFEST,
    MANIFEST_LIMIT,
    Image,
    ImageManifest,
    deduplication,
    folder_of,
    load,
    read_manifest,
    readymade,
    tags,
)
from microvm.progress import NullReporter, Reporter
from microvm.units import exact_size, format_size

LIMIT = "16G"
"""The most that an imported image may take, where its user says nothing else."""

SOURCES = ("alpine", "scratch")
DEBIAN = "debian"
"""The names that stand for sources of images; `debian` also with each suite."""

_TAGS = "tags.json"
_TAGS_LIMIT = 1 << 16
_MOST_TAGS = 1000  # each tag is a file in the cache
HEAD_LIMIT = MANIFEST_LIMIT + _TAGS_LIMIT
"""The most bytes that an exported image has beside those of its files."""

_OTHERS = "`microvm image build NAME --from FILE` takes an image of docker's, or a root file system"


def write(
    image: Image,
    out: BinaryIO,
    report: Reporter | None = None,
    named: Sequence[str] | None = None,
) -> None:
    """Write an image as one file; the same image with the same tags gives the same bytes.

    :param named: its tags, where they are not to be those that it has.
    :raises ImageError: its files have changed meanwhile.
    :raises OSError: it cannot be written.
    """
    report = report or NullReporter()
    report.step(f"exporting {image.name}")
    listed = json.dumps(tags.of(image.name) if named is None else list(named)).encode()
    done = 0

    def checked(path: Path, size: int, sha256: str) -> Iterator[bytes]:
        nonlocal done
        digest = hashlib.sha256()
        with path.open("rb") as file:
            for chunk in export_archive.chunks(file, size):
                digest.update(chunk)
                yield chunk
                done += len(chunk)
                report.advance(done, image.size)
        if digest.hexdigest() != sha256:
            raise export_archive.DamagedError("it has changed while it was read")

    with export_archive.writing(out) as archive:
        for name, data in ((MANIFEST, image.manifest.json().encode()), (_TAGS, listed)):
            archive.add(name, len(data), [data])
        for path, size, sha256 in image.files:
            try:
                archive.add(path.name, size, checked(path, size, sha256))
            except export_archive.DamagedError as error:
                raise ImageError(f"{path}: damaged image: {error}") from error


def read(
    file: BinaryIO,
    name: str,
    *,
    tag: str | None = None,
    limit: int,
    expected: ImageManifest | None = None,
    report: Reporter | None = None,
) -> tuple[Image, list[str]]:
    """Take over an exported image, and return it with the tags that it has got.

    It gets those of its tags that are free.

    :param name: what the file is called, for messages.
    :param tag: the one to give it in their place, which another image may have lost by that.
    :param limit: the most bytes that it may take.
    :param expected: the manifest that it must have, if it may not be any; it gets no tags then.
    :raises ImageError: it is no exported image, is damaged or cut short or larger than it may be;
        another image has its name, or the disk is full. Nothing half made is left.
    :raises OSError: it cannot be read.
    """
    report = report or NullReporter()
    wanted = None if tag is None else tags.parse(tag)
    try:
        with export_archive.reading(file) as archive:
            manifest = _manifest(archive, name)
            theirs = _tags(archive)
            if expected is not None:
                theirs = []
                if manifest != expected:
                    raise export_archive.DamagedError(f"it is another one, {manifest.name}")
            named = [wanted] if wanted else theirs
            report.step(f"importing {manifest.name}")
            path = folder_of(manifest.name)
            with cache.disk_errors(), lock.held(path, report):
                image = _existing(path, manifest)
                if image is None:
                    _check_size(manifest, limit)
                    image = _make(path, manifest, archive, report)
                return image, _assign(image, named, wanted, report)
    except export_archive.ForeignError as error:
        raise ImageError(f"{name}: no image that was exported: {error}", hint=_OTHERS) from error
    except export_archive.DamagedError as error:
        hint = "export it again, or copy it again"
        raise ImageError(f"{name}: damaged image: {error}", hint=hint) from error


def _manifest(archive: export_archive.ExportReader, name: str) -> ImageManifest:
    text = archive.whole(MANIFEST, MANIFEST_LIMIT)
    try:
        found = json.loads(text)
        if not isinstance(found, dict):
            raise ValueError("it is no object")
        manifest = read_manifest(found, name)
        if not re.search(rf"-{manifest.arch}-[0-9a-f]{{12}}$", manifest.name):
            # The name could be a tag, and then be taken for another image.
            raise ValueError(f"no build gives an image the name {manifest.name!r}")
        return manifest
    except (ValueError, RecursionError) as error:
        raise export_archive.DamagedError(f"its manifest: {error}") from error


def _tags(archive: export_archive.ExportReader) -> list[str]:
    text = archive.whole(_TAGS, _TAGS_LIMIT)
    try:
        named = json.loads(text)
        if not isinstance(named, list):
            raise ValueError("they are no list")
        if len(named) > _MOST_TAGS:
            raise ValueError(f"there are {len(named):,} tags, more than {_MOST_TAGS:,}")
        return [tags.parse(str(each)) for each in named]
    except (ValueError, RecursionError) as error:
        raise export_archive.DamagedError(f"its tags: {error}") from error


def _existing(path: Path, manifest: ImageManifest) -> Image | None:
    """Return the image if it is there, and None if it may be made.

    :raises ImageError: another one of that name is there.
    """
    try:
        image = load(path)
    except ImageError:
        return None  # what is left of it is of no use
    if image.manifest == manifest:
        return image
    raise ImageError(
        f"another image is there by the name of {manifest.name}",
        hint=f"`microvm image rm {manifest.name}` removes it",
    )


def _check_size(manifest: ImageManifest, limit: int) -> None:
    size = manifest.kernel_size + manifest.initramfs_size + manifest.disk_size
    if size > limit:
        raise ImageError(
            f"image {manifest.name} has {format_size(size)}, of at most {exact_size(limit)}",
            hint="if you trust it, raise the limit: `microvm image import --max-size SIZE`",
        )
    folder = cache.folder("images")
    cache.make(folder)
    status = os.statvfs(folder)
    if size > (free := status.f_bavail * status.f_frsize):
        raise CacheError(
            f"disk full: {manifest.name} takes {size / 1e6:,.0f} MB, and {free / 1e6:,.0f} MB are "
            f"free in {folder}",
            hint="`microvm cache prune` makes room",
        )


def _make(
    path: Path, manifest: ImageManifest, archive: export_archive.ExportReader, report: Reporter
) -> Image:
    total = manifest.kernel_size + manifest.initramfs_size + manifest.disk_size
    done = 0
    with cache.staging(path) as folder:
        folder.mkdir()
        for made, size, sha256 in Image(folder, manifest).files:
            digest = hashlib.sha256()
            with archive.member(made.name, size) as (found, chunks), made.open("wb") as out:
                for chunk in chunks:
                    digest.update(chunk)
                    out.write(chunk)
                    done += len(chunk)
                    report.advance(done, total)
            if found != size or digest.hexdigest() != sha256:
                raise export_archive.DamagedError(f"{made.name} is not what its manifest says")
            made.chmod(cache.READ_ONLY_MODE)
        archive.end()
        (folder / MANIFEST).write_text(manifest.json())
        (folder / IMPORTED).touch()
        deduplication.share(folder, manifest)
        for made, _, sha256 in Image(folder, manifest).files:
            with made.open("rb") as file:
                verified.remember(made, file.fileno(), sha256)
    return load(path)


def _is_reserved(tag: str) -> bool:
    """Tell whether a tag, given in full, is a name that stands for a source of images."""
    name, _, version = tag.partition(":")
    return name == DEBIAN or (version == tags.LATEST and name in {*readymade.IMAGES, *SOURCES})


def _assign(image: Image, named: list[str], wanted: str | None, report: Reporter) -> list[str]:
    given = []
    for tag in named:
        holder = tags.image_of(tag)
        if _is_reserved(tag) and tag != wanted and holder != image.name:
            report.notice(
                f"{tag} is a reserved name, which no file can take: "
                f"`microvm image tag {image.name} {tag}` gives it to this image"
            )
            continue
        if holder in {None, image.name} or tag == wanted:
            given.append(tags.assign(tag, image.name, report))
        else:
            report.notice(
                f"{tag} stays with {holder}: `microvm image tag {image.name} {tag}` moves it"
            )
    return given

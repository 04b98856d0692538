"""The export of an image to one file, and its import on the same or another host.

The exported file is an `export_archive` with these members: `manifest.json`; `tags.json`, a list of
the image's tags; and the files of the image, by their names in its folder.

The import refuses the exported file if a member differs from its size or digest in the manifest.
But the author of the exported file may have chosen any name and tags. So an import never replaces
another image, and a build never returns an imported image.
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
"""Maximum size of an imported image, unless the user gives another one."""

SOURCES = ("alpine", "scratch")
DEBIAN = "debian"
"""The names of sources of images, which no imported tag may be. `debian` can have a suite after
it."""

_TAGS = "tags.json"
_TAGS_LIMIT = 1 << 16
# Maximum number of tags in an exported image. Each tag becomes a file in the cache, so the number
# must be limited.
_MOST_TAGS = 1000
HEAD_LIMIT = MANIFEST_LIMIT + _TAGS_LIMIT
"""Maximum size of the manifest and the tags of an exported image together, in bytes."""

_OTHERS = "`microvm image build NAME --from FILE` reads an archive of docker or a root file system"


def write(
    image: Image, out: BinaryIO, report: Reporter | None = None, named: Sequence[str] | None = None
) -> None:
    """Write an image to the file `out`, with its tags, or with the tags in `named` instead.

    The same image and tags always give the same bytes.
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
    """Import an image from `file`, which messages call `name`; return the image and its new tags.

    By default, the image gets those tags in the file that no other image has.

    :param tag: The only tag that the image gets, even if another image has it; None for the tags in
        the file.
    :param limit: Maximum size of the image, in bytes.
    :param expected: The manifest that the image must have; None for any. If it is given, the image
        gets no tags.
    :raises ImageError: The file is no exported image, or is damaged, incomplete or too large; or
        another image has its name. Incomplete files are removed.
    """
    report = report or NullReporter()
    try:
        with export_archive.reading(file) as archive:
            manifest = _manifest(archive, name)
            wanted = None if tag is None else tags.of_arch(tag, manifest.arch)
            named_tags = _tags(archive, manifest.arch)
            if expected is not None:
                named_tags = []
                if manifest != expected:
                    raise export_archive.DamagedError(f"it contains another image, {manifest.name}")
            named = [wanted] if wanted else named_tags
            report.step(f"importing {manifest.name}")
            path = folder_of(manifest.name)
            with cache.disk_errors(), lock.held(path, report):
                image = _existing(path, manifest)
                if image is None:
                    _check_size(manifest, limit)
                    image = _make(path, manifest, archive, report)
                return image, _assign(image, named, wanted, report)
    except export_archive.ForeignError as error:
        raise ImageError(f"{name} is no exported image: {error}", hint=_OTHERS) from error
    except export_archive.DamagedError as error:
        hint = "export or copy it again"
        raise ImageError(f"{name}: damaged image: {error}", hint=hint) from error


def _manifest(archive: export_archive.ExportReader, name: str) -> ImageManifest:
    text = archive.whole(MANIFEST, MANIFEST_LIMIT)
    try:
        found = json.loads(text)
        if not isinstance(found, dict):
            raise ValueError("it is not an object")
        manifest = read_manifest(found, name)
        if not re.search(rf"-{manifest.arch}-[0-9a-f]{{12}}$", manifest.name):
            # Require the suffix `-ARCH-DIGEST`. Without this rule, an import could be called
            # `python`, for example, and be found instead of the image with the tag `python`.
            raise ValueError(f"no build gives an image the name {manifest.name!r}")
        return manifest
    except (ValueError, RecursionError) as error:
        raise export_archive.DamagedError(f"its manifest: {error}") from error


def _tags(archive: export_archive.ExportReader, arch: str) -> list[str]:
    text = archive.whole(_TAGS, _TAGS_LIMIT)
    try:
        named = json.loads(text)
        if not isinstance(named, list):
            raise ValueError("they are not a list")
        if len(named) > _MOST_TAGS:
            raise ValueError(f"there are {len(named):,} tags, more than {_MOST_TAGS:,}")
        return [tags.of_arch(tags.without_arch(str(each)), arch) for each in named]
    except (ValueError, RecursionError) as error:
        raise export_archive.DamagedError(f"its tags: {error}") from error


def _existing(path: Path, manifest: ImageManifest) -> Image | None:
    """Return the image at a path, which must have this manifest; None if no intact image exists.

    :raises ImageError: The image at the path has another manifest.
    """
    try:
        image = load(path)
    except ImageError:
        return None  # the path has a damaged image, which the import replaces
    if image.manifest == manifest:
        return image
    raise ImageError(
        f"cannot import {manifest.name}: the cache has another image of that name",
        hint=f"`microvm image rm {manifest.name}` removes it",
    )


def _check_size(manifest: ImageManifest, limit: int) -> None:
    size = manifest.kernel_size + manifest.initramfs_size + manifest.disk_size
    if size > limit:
        raise ImageError(
            f"image {manifest.name} takes {format_size(size)}, of at most {exact_size(limit)}",
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
                raise export_archive.DamagedError(f"{made.name} differs from the manifest")
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
    """Return True if an import must not assign this tag, such as `alpine:latest`.

    Such tags are names of sources or of ready-made images. An imported image with such a tag could
    be mistaken for them.
    """
    name, _, version = tags.without_arch(tag).partition(":")
    return name == DEBIAN or (version == tags.LATEST and name in {*readymade.IMAGES, *SOURCES})


def _assign(image: Image, named: list[str], wanted: str | None, report: Reporter) -> list[str]:
    given = []
    for tag in named:
        holder = tags.image_of(tag)
        if _is_reserved(tag) and tag != wanted and holder != image.name:
            report.notice(
                f"{tag} is reserved and is not given by an import: "
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

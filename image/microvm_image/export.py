"""An exported image: one file, which another machine imports.

It is a tar, compressed by zstd, of these members in this order: `manifest.json`; `tags.json`, a
list of the tags that the image had; and its files, by the names that they have in its folder.

Whoever wrote the file may be hostile. So it is not unpacked: the members are expected one by one,
each of the size and with the digest that the manifest says, and their names are compared, not
followed. What the image is called is a claim, too: it stands in for none that is there, and no
build takes it for its own.
"""

from __future__ import annotations

import hashlib
import json
import os
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from microvm.cache import lock, verified
from microvm.cache import store as cache
from microvm.errors import ImageError
from microvm.progress import NullReporter, Reporter
from microvm_image import sharing, tags
from microvm_image.compression import zstd_module
from microvm_image.image import (
    IMPORTED,
    MANIFEST,
    MANIFEST_LIMIT,
    Image,
    Manifest,
    folder_of,
    load,
    read_manifest,
)

LIMIT = "16G"
"""The most that an imported image may take, where its user says nothing else."""

_TAGS = "tags.json"
_TAGS_LIMIT = 1 << 16
_LEVEL = 3
_WINDOW = 23
"""The logarithm of the memory that decompression may take: more than `_LEVEL` wants."""

_BLOCK = tarfile.BLOCKSIZE
_CHUNK = 1 << 20
_OTHERS = "`microvm image build NAME --from FILE` takes an image of docker's, or a root file system"


def write(image: Image, out: BinaryIO, report: Reporter | None = None) -> None:
    """Write an image as one file; the same image with the same tags gives the same bytes.

    :raises ImageError: its files have changed meanwhile.
    :raises OSError: it cannot be written.
    """
    report = report or NullReporter()
    report.step(f"exporting {image.name}")
    library = zstd_module()
    named = json.dumps(tags.of(image.name)).encode()
    done = 0
    chosen = library.CompressionParameter
    options = {chosen.compression_level: _LEVEL, chosen.checksum_flag: 1}
    with library.ZstdFile(out, "w", options=options) as packed:
        for name, data in ((MANIFEST, image.manifest.json().encode()), (_TAGS, named)):
            packed.write(_header(name, len(data)) + data + _padding(len(data)))
        for path, size, sha256 in image.files:
            packed.write(_header(path.name, size))
            digest = hashlib.sha256()
            with path.open("rb") as file:
                for chunk in _chunks(file, size, str(path)):
                    digest.update(chunk)
                    packed.write(chunk)
                    done += len(chunk)
                    report.advance(done, image.size)
            if digest.hexdigest() != sha256:
                raise ImageError(f"{path}: damaged image: it has changed while it was read")
            packed.write(_padding(size))
        packed.write(bytes(2 * _BLOCK))


def read(
    file: BinaryIO,
    name: str,
    *,
    tag: str | None = None,
    limit: int,
    report: Reporter | None = None,
) -> tuple[Image, list[str]]:
    """Take over an exported image, and return it with the tags that it has got.

    It gets those of its tags that are free.

    :param name: what the file is called, for messages.
    :param tag: the one to give it in their place, which another image may have lost by that.
    :param limit: the most bytes that it may take.
    :raises ImageError: it is no exported image, is damaged or cut short or larger than it may be;
        another image has its name, or the disk is full. Nothing half made is left.
    :raises OSError: it cannot be read.
    """
    report = report or NullReporter()
    wanted = None if tag is None else tags.parse(tag)
    library = zstd_module()
    options = {library.DecompressionParameter.window_log_max: _WINDOW}
    try:
        with library.ZstdFile(file, options=options) as stream:
            archive = _Archive(stream, name)
            manifest = _manifest(archive, name)
            theirs = _tags(archive, name)
            named = [wanted] if wanted else theirs
            report.step(f"importing {manifest.name}")
            path = folder_of(manifest.name)
            with cache.disk_errors(), lock.held(path, report):
                image = _existing(path, manifest)
                if image is None:
                    _check_size(manifest, limit)
                    image = _make(path, manifest, archive, report)
                return image, _assign(image, named, wanted, report)
    except (library.ZstdError, tarfile.HeaderError) as error:
        raise ImageError(f"{name}: no image that was exported: {error}", hint=_OTHERS) from error
    except EOFError as error:
        raise _damaged(name, "it is cut short") from error


class _Archive:
    """A tar, read member by member, of plain files only."""

    def __init__(self, stream: BinaryIO, name: str) -> None:
        self._stream = stream
        self._name = name

    @contextmanager
    def member(self, name: str, limit: int) -> Iterator[tuple[int, Iterator[bytes]]]:
        """Yield the size of the next member, which must be this one, and its content in chunks."""
        block = self._exactly(_BLOCK)
        header = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
        if header.name != name or header.type != tarfile.REGTYPE:
            raise _damaged(self._name, f"{header.name!r} is in the place of {name}")
        if not 0 <= header.size <= limit:
            raise _damaged(self._name, f"{name} has {header.size} bytes, of at most {limit}")
        yield header.size, _chunks(self._stream, header.size, self._name)
        self._exactly(-header.size % _BLOCK)

    def end(self) -> None:
        """Check that this is the end of the archive, so that nothing is missing from it."""
        rest, most = b"", tarfile.RECORDSIZE
        while len(rest) <= most and (more := self._stream.read(most)):
            rest += more
        if rest.strip(b"\0") or not 2 * _BLOCK <= len(rest) <= most:
            raise _damaged(self._name, "it does not end where it should")

    def _exactly(self, size: int) -> bytes:
        return b"".join(_chunks(self._stream, size, self._name))


def _manifest(archive: _Archive, name: str) -> Manifest:
    with archive.member(MANIFEST, MANIFEST_LIMIT) as (_, chunks):
        text = b"".join(chunks)
    try:
        members = json.loads(text)
        if not isinstance(members, dict):
            raise ValueError("it is no object")
        return read_manifest(members, name)
    except (ValueError, RecursionError) as error:
        raise _damaged(name, f"its manifest: {error}") from error


def _tags(archive: _Archive, name: str) -> list[str]:
    with archive.member(_TAGS, _TAGS_LIMIT) as (_, chunks):
        text = b"".join(chunks)
    try:
        named = json.loads(text)
        if not isinstance(named, list):
            raise ValueError("they are no list")
        return [tags.parse(str(each)) for each in named]
    except (ValueError, RecursionError) as error:
        raise _damaged(name, f"its tags: {error}") from error


def _existing(path: Path, manifest: Manifest) -> Image | None:
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


def _check_size(manifest: Manifest, limit: int) -> None:
    size = manifest.kernel_size + manifest.initramfs_size + manifest.disk_size
    if size > limit:
        raise ImageError(
            f"image {manifest.name} takes {size / 1e6:,.0f} MB, and may take {limit / 1e6:,.0f} MB",
            hint="if it can be trusted, raise --max-size",
        )
    folder = cache.folder("images")
    cache.make(folder)
    status = os.statvfs(folder)
    if size > (free := status.f_bavail * status.f_frsize):
        raise ImageError(
            f"disk full: {manifest.name} takes {size / 1e6:,.0f} MB, and {free / 1e6:,.0f} MB are "
            f"free in {folder}",
            hint="`microvm image prune` and `microvm template prune` make room",
        )


def _make(path: Path, manifest: Manifest, archive: _Archive, report: Reporter) -> Image:
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
                raise _damaged(manifest.name, f"{made.name} is not what its manifest says")
            made.chmod(cache.READ_ONLY_MODE)
        archive.end()
        (folder / MANIFEST).write_text(manifest.json())
        (folder / IMPORTED).touch()
        sharing.share(folder, manifest)
        for made, _, sha256 in Image(folder, manifest).files:
            with made.open("rb") as file:
                verified.remember(made, file.fileno(), sha256)
    return load(path)


def _assign(image: Image, named: list[str], wanted: str | None, report: Reporter) -> list[str]:
    given = []
    for tag in named:
        holder = tags.image_of(tag)
        if holder in {None, image.name} or tag == wanted:
            given.append(tags.assign(tag, image.name, report))
        else:
            report.notice(
                f"{tag} stays with {holder}: `microvm image tag {image.name} {tag}` moves it"
            )
    return given


def _header(name: str, size: int) -> bytes:
    header = tarfile.TarInfo(name)
    header.size = size
    return header.tobuf(tarfile.GNU_FORMAT)


def _padding(size: int) -> bytes:
    return bytes(-size % _BLOCK)


def _chunks(file: BinaryIO, size: int, name: str) -> Iterator[bytes]:
    """Yield exactly this many bytes of a file."""
    while size:
        chunk = file.read(min(size, _CHUNK))
        if not chunk:
            raise _damaged(name, "it is cut short")
        size -= len(chunk)
        yield chunk


def _damaged(name: str, why: str) -> ImageError:
    return ImageError(f"{name}: damaged image: {why}", hint="export it again, or copy it again")

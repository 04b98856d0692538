"""Renews images after an update of microvm that has changed the guest's programs.

Only images that microvm builds by itself are renewed: the ready-made ones, and those with the
packages of an `Interpreter`. Each has a note: a file in its folder with the digest of the source
code of the guest's programs. An image without a note was built by a user, and is never renewed,
unless its format is from before the first notes.
"""

from __future__ import annotations

from contextlib import suppress

from microvm import cache, images
from microvm.cache import record
from microvm.errors import CacheError, ImageError
from microvm.images import FORMAT, MANIFEST, MANIFEST_LIMIT, Image, folder_of, tags
from microvm.progress import Reporter
from microvm.sha256 import sha256

_NOTE = "version"
_LIMIT = 1 << 10
_FIRST_WITH_NOTES = 5  # format of the first images that have a note


def is_outdated(tag: str) -> bool:
    """Return True if microvm has built a tag's image by itself, with programs that have changed.

    :raises ImageError: The source code of the guest's programs is missing.
    """
    if (name := tags.image_of(tag)) is None:
        return False
    try:
        noted = cache.read(folder_of(name) / _NOTE, _LIMIT)
    except (OSError, ImageError):
        return _is_older_than_notes(name)
    return noted != _version()


def note(image: Image) -> None:
    """Note that microvm has built an image by itself, with the current programs.

    If the note cannot be stored, no error is raised, and the image is never renewed.
    """
    with suppress(OSError, CacheError), cache.staging(image.path / _NOTE) as file:
        file.write_bytes(_version())


def renew(tag: str, report: Reporter) -> bool:
    """Replace the outdated image of a tag by a new one with the current programs.

    The new image has the same disk, so the network is needed only if the kernel must be downloaded.
    The caller holds the lock of the tag.

    :return: False if there is nothing to renew, or the image must be built again.
    :raises ImageError: The guest's programs or the kernel are missing, or cannot be built.
    """
    if not is_outdated(tag):
        return False
    try:
        image = images.load(tag)
    except ImageError:
        return False
    if image.disk is None:
        return False
    from microvm_image.repack import repack

    renewed = repack(image, tag, report)
    note(renewed)
    if renewed.name != image.name:
        shown = tags.without_arch(tag).removesuffix(f":{tags.LATEST}")
        report.notice(f"image {shown}: renewed, because microvm has changed")
    return True


def _is_older_than_notes(name: str) -> bool:
    """Return True if an image has a format from before the first notes, so nobody can use it."""
    try:
        found = record.read(folder_of(name) / MANIFEST, MANIFEST_LIMIT).get("format")
    except (OSError, ValueError, ImageError):
        return False
    return isinstance(found, int) and found < _FIRST_WITH_NOTES


def _version() -> bytes:
    from microvm_image.programs import source_digest

    return sha256(repr((FORMAT, source_digest())).encode()).hexdigest().encode()

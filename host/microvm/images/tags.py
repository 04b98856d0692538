"""The tags of images: `python:3.13`, or `python`, which is short for `python:latest`.

A tag is a short file of the cache, of that name, in which stands the name of an image. It appears
whole and is replaced whole, so nobody needs a lock to read one. Who changes some has the lock of
all of them, and takes it after that of an image, if both, so that no two wait for each other.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from microvm import cache
from microvm.cache import lock
from microvm.errors import ImageError
from microvm.printable import quoted
from microvm.progress import NullReporter, Reporter
from microvm.system.capacity import SHORTAGES

LATEST = "latest"
"""What stands behind the colon where nobody has put one."""

_PART = r"\w[\w.+~-]{0,99}"  # two of them are the name of a file, and of one to replace it
_TAG = re.compile(rf"({_PART})(?::({_PART}))?", re.ASCII)
_LIMIT = 1 << 10

RULE = "a tag is NAME or NAME:VERSION, each of up to 100 letters, digits, and _ . + ~ -"
"""The form of a tag, for hints in errors."""


def parse(text: str) -> str:
    """Return a tag in full: `python:latest` for `python`.

    :raises ImageError: no tag can look like that.
    """
    if (match := _TAG.fullmatch(text)) is None:
        raise ImageError(
            f"{quoted(text)} cannot be a tag",
            hint=RULE,
        )
    return f"{match[1]}:{match[2] or LATEST}"


def image_of(tag: str) -> str | None:
    """Return the name of the image that has a tag, given in full; None if none has it."""
    try:
        return cache.read(_folder() / tag, _LIMIT).decode()
    except UnicodeDecodeError:
        return None
    except OSError as error:
        if error.errno in SHORTAGES:  # it may well be there
            raise
        return None


def all_tags() -> dict[str, str]:
    """Return the images' names by their tags, sorted."""
    found = {path.name: image_of(path.name) for path in sorted(_folder().glob("[!.]*"))}
    return {tag: image for tag, image in found.items() if image is not None}


def of(image: str) -> list[str]:
    """Return the tags of an image, sorted."""
    return [tag for tag, name in all_tags().items() if name == image]


@contextmanager
def changing(report: Reporter | None = None) -> Iterator[None]:
    """Hold the right to change tags.

    :raises ImageError: nothing can be changed there.
    """
    with lock.held(_folder(), report or NullReporter()):
        yield


def assign(text: str, image: str, report: Reporter | None = None) -> str:
    """Give an image of the cache a tag, which no other has then, and return it in full.

    :raises ImageError: no tag can look like that, or there is no such image.
    :raises CacheError: the cache cannot be written, such as when the disk is full.
    """
    tag = parse(text)
    with cache.disk_errors(), changing(report):
        if not (cache.folder("images") / image).is_dir():
            raise ImageError(f"no image {image}", hint="`microvm image ls` lists them")
        with cache.staging(_folder() / tag) as file:
            file.write_text(image)
    return tag


def clear(tag: str) -> None:
    """Remove a tag, given in full, if it is there; the caller holds `changing`."""
    with suppress(FileNotFoundError):
        (_folder() / tag).unlink()


def sweep(report: Reporter) -> None:
    """Remove what processes that were killed have left of tags."""
    if left := [*_folder().glob(".*.tmp")]:
        with changing(report):
            for each in left:
                cache.clear(each)


def _folder() -> Path:
    return cache.folder("tags")

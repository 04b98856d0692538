"""Tags of images, such as `python:3.13`, or `python`, which is short for `python:latest`.

Images of different architectures can have the same tag. The full tag of an image whose architecture
is not that of this host ends with the architecture, such as `python:latest@aarch64`.

A tag is a short file of the cache that contains the name of an image. The names of all these files
end with the architecture, because hosts of different architectures may share a home folder, and so
the cache. The file is replaced as a whole, so reading a tag needs no lock. A process that changes
tags holds the lock of all tags. If it also needs the lock of an image, it takes that first, so that
no two processes wait for each other.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from microvm import arches, cache
from microvm.cache import lock
from microvm.errors import ImageError
from microvm.printable import quoted
from microvm.progress import NullReporter, Reporter
from microvm.system.capacity import SHORTAGES

LATEST = "latest"
"""The version that a tag gets if the user gives only its name."""

# The form of NAME and of VERSION in a tag. The file of a tag is called NAME:VERSION, so each has at
# most 100 characters: file names in Linux have at most 255.
_PART = r"\w[\w.+~-]{0,99}"
_TAG = re.compile(rf"({_PART})(?::({_PART}))?(?:@({'|'.join(arches.ARCHES)}))?", re.ASCII)
_LIMIT = 1 << 10

RULE = "a tag is NAME or NAME:VERSION, each of up to 100 letters, digits, and _ . + ~ -"
"""A sentence that describes the form of a tag, for hints in errors."""


def parse(text: str) -> str:
    """Return a tag with its version: `python:latest` for `python`.

    If the text ends with `@` and the architecture of this host, this suffix is removed.
    """
    if (match := _TAG.fullmatch(text)) is None:
        raise ImageError(f"{quoted(text)} cannot be a tag", hint=RULE)
    return _full(f"{match[1]}:{match[2] or LATEST}", match[3])


def arch_of(image: str) -> str:
    """Return the architecture in an image's name, such as `alpine-3.20.3-aarch64-3bf098e3bd1a`."""
    arch = image.rpartition("-")[0].rpartition("-")[2]
    return arch if arch in arches.ARCHES else arches.native()


def without_arch(tag: str) -> str:
    """Return a full tag without the architecture with which it may end."""
    return tag.partition("@")[0]


def of_arch(text: str, arch: str) -> str:
    """Return the full tag `text` of an image with this architecture.

    :raises ImageError: The text is no tag, or it ends with another architecture.
    """
    tag, own = parse(text), _full(without_arch(parse(text)), arch)
    if "@" in text and tag != own:
        raise ImageError(
            f"an image for {arch} cannot have the tag {text}",
            hint=f"leave out {text[text.index('@') :]}",
        )
    return own


def meant(text: str, arch: str | None = None) -> str | None:
    """Return the full tag that a user means by `text`; None if no image has such a tag.

    Images of the architecture `arch` come first, then those of this host. If only an image of
    another architecture has the tag, its tag is returned.
    """
    tag = parse(text)
    if "@" in text:  # also for the architecture of this host, whose full tags do not name it
        return tag if image_of(tag) else None
    names = dict.fromkeys((arch, None, *arches.ARCHES))
    return next((each for name in names if image_of(each := _full(tag, name))), None)


def _full(tag: str, arch: str | None) -> str:
    return tag if arch in {None, arches.native()} else f"{tag}@{arch}"


def image_of(tag: str) -> str | None:
    """Return the name of the image that has a tag; None if no image has it.

    :param tag: The tag with its version, such as `python:latest`.
    """
    try:
        return cache.read(_path(tag), _LIMIT).decode()
    except UnicodeDecodeError:
        return None
    except OSError as error:
        # A missing resource, such as a free descriptor, does not show that the tag is missing. So
        # raise the error, and do not report that no image has the tag.
        if error.errno in SHORTAGES:
            raise
        return None


def all_tags() -> dict[str, str]:
    """Return all tags, sorted, each with the name of its image.

    Other files are ignored, such as the tags of architectures that only a newer version knows.
    """
    files = [path.name for path in _folder().glob("[!.]*@*")]
    names = sorted(parse(each) for each in files if _TAG.fullmatch(each))
    found = {tag: image_of(tag) for tag in names}
    return {tag: image for tag, image in found.items() if image is not None}


def of(image: str) -> list[str]:
    """Return the tags of the image with this name, sorted."""
    return [tag for tag, name in all_tags().items() if name == image]


@contextmanager
def changing(report: Reporter | None = None) -> Iterator[None]:
    """Context manager that locks all tags. Tags may be changed only in its `with` block."""
    with lock.held(_folder(), report or NullReporter()):
        yield


def assign(text: str, image: str, report: Reporter | None = None) -> str:
    """Assign the tag `text` to the image of this name in the cache, and return the full tag.

    If another image of the same architecture has the tag, that image loses it.
    """
    tag = of_arch(text, arch_of(image))
    with cache.disk_errors(), changing(report):
        if not (cache.folder("images") / image).is_dir():
            raise ImageError(f"no image {image}", hint="`microvm image ls` lists them")
        with cache.staging(_path(tag)) as file:
            file.write_text(image)
    return tag


def clear(tag: str) -> None:
    """Remove a tag, such as `python:latest`, if it exists. The caller holds the lock `changing`."""
    with suppress(FileNotFoundError):
        _path(tag).unlink()


def sweep(report: Reporter) -> None:
    """Remove the temporary files that killed processes have left when they wrote a tag."""
    if unfinished := [*_folder().glob(".*.tmp")]:
        with changing(report):
            for each in unfinished:
                cache.clear(each)


def _path(tag: str) -> Path:
    return _folder() / (tag if "@" in tag else f"{tag}@{arches.native()}")


def _folder() -> Path:
    return cache.folder("tags")

"""Finds the source of an image, given the value of `--from`."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from microvm import cache
from microvm.arches import Arch
from microvm.errors import ImageError, UsageError
from microvm.images import KERNEL, MANIFEST
from microvm.images.config import ImageConfig
from microvm.progress import Reporter
from microvm_image import skopeo
from microvm_image.limits import Limits
from microvm_image.source import ImageSource
from microvm_image.sources import archive, debian, registry
from microvm_image.sources import folder as folders
from microvm_image.sources import image as images

SCRATCH = "scratch"

_HINT = (
    "a tar archive, a folder, an OCI layout, an archive of `docker save`, `-` for standard input, "
    "docker://NAME for a registry, debian:SUITE, alpine, scratch, or an image that "
    "`microvm image ls` shows"
)


@contextmanager
def find(
    text: str,
    arch: Arch,
    *,
    packages: Sequence[str] = (),
    locate: Callable[[str], Path] = Path,
    limits: Limits | None = None,
    report: Reporter,
) -> Iterator[ImageSource]:
    """Context manager that yields the source of a new image, given `text`, the value of `--from`.

    The files of the source stay open until the end of the block.

    :param packages: The packages to install from the distribution.
    :param locate: A function that returns the path of a file or folder that the text names.
    :raises ImageError: There is no such source, or it is damaged.
    """
    with ExitStack() as files:
        with cache.disk_errors():
            found = _found(text, arch, packages, locate, limits or Limits(), report, files)
        yield found


def _found(
    text: str,
    arch: Arch,
    packages: Sequence[str],
    locate: Callable[[str], Path],
    limits: Limits,
    report: Reporter,
    files: ExitStack,
) -> ImageSource:
    if packages and not text.startswith(debian.SCHEME):
        raise ImageError(f"packages cannot be installed in {text}", hint="use debian:SUITE")
    if text == SCRATCH:
        digest = hashlib.sha256(SCRATCH.encode()).hexdigest()
        return ImageSource(SCRATCH, SCRATCH, digest, ImageConfig(), ())
    if text.startswith(skopeo.SCHEME):
        return registry.find(text, arch, limits, report, files)
    if text.startswith(debian.SCHEME):
        return debian.find(text, packages, arch, limits, report)
    if text == archive.STDIN:
        report.step("reading standard input")
        return archive.find(text, arch, limits, files)
    kind, colon, rest = text.partition(":")
    if colon and kind in archive.KINDS:
        path, tag = split(locate, kind, rest)
        report.step(f"reading {path}")
        return archive.find_stored(kind, locate(path), tag, arch, limits, files)
    where = locate(text)
    if "/" not in text and not where.exists():
        try:
            return images.find(text, arch)
        except ImageError as error:
            if error.message != f"no image {text}":
                raise
    if not where.exists():
        raise ImageError(f"{text}: there is no such source", hint=_HINT)
    report.step(f"reading {text}")
    if (where / MANIFEST).is_file() and (where / KERNEL).is_file():
        return images.find(where.absolute(), arch)
    if not where.is_dir():
        return archive.find(str(where), arch, limits, files)
    if archive.is_layout(where):
        return archive.find_layout(where, "", arch)
    return folders.find(where, limits)


def split(locate: Callable[[str], Path], kind: str, text: str) -> tuple[str, str]:
    """Split `text`, PATH:NAME of a stored image, into PATH and NAME; `locate` resolves a path.

    Both may contain colons. PATH is the longest path that exists. If NAME is missing, it is "".

    :param kind: The prefix of the text in the value of `--from`, such as `oci`, for messages.
    :raises ImageError: The file or folder does not exist.
    :raises UsageError: `locate` refuses the path.
    """
    path, tag = text, ""
    refusal: UsageError | None = None
    while path:
        try:
            if locate(path).exists():
                return path, tag
        except UsageError as error:
            # The recipe may not use this path. Raise the error only at the end, because a shorter
            # part of the text may be a path that is allowed.
            refusal = error
        path, _, name = path.rpartition(":")
        tag = f"{name}:{tag}" if tag else name
    if refusal:
        raise refusal
    raise ImageError(
        f"{kind}:{text}: there is no such file or folder",
        hint=f"`{kind}:PATH`, or `{kind}:PATH:NAME` for one image of several",
    )

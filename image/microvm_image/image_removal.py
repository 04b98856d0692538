"""The removal of images from the cache: of one, and of all that nobody has a use for.

A machine that runs is not disturbed: it has opened what it needs. Nor is an image that was made
from another, since it is whole by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from microvm import arches, cache
from microvm.cache import lock
from microvm.errors import ImageError
from microvm.images import entries, find, folder_of, load, tags
from microvm.progress import NullReporter, Reporter
from microvm_image import defaults, stale_folders
from microvm_image.kernel import cached

Needs = Callable[[], Mapping[str, Sequence[str]]]
"""Returns what needs which images: by an image's name, in words."""


@dataclass(frozen=True, slots=True)
class Removed:
    """The record of what was removed.

    :ivar tags: the tags that were taken from the image.
    :ivar image: the name of the image; empty where it stays, since it has other tags.
    """

    tags: tuple[str, ...]
    image: str


@cache.disk_errors()
def remove(
    text: str,
    *,
    force: bool = False,
    needs: Needs | None = None,
    report: Reporter | None = None,
) -> Removed:
    """Remove an image, or a tag, and with an image's last tag the image.

    :param text: what `find` takes.
    :param force: also an image that is needed, or that has several tags, where none of these is
        what is given.
    :param needs: what needs which images.
    :raises ImageError: there is none, it has several tags, or it is needed.
    """
    image = find(text)
    path = folder_of(image)
    report = report or NullReporter()
    with lock.held(path, report), tags.changing(report):
        theirs = tags.of(image)
        if text != image and tags.parse(text) in theirs:
            gone = [tags.parse(text)]
        elif len(theirs) > 1 and not force:
            raise ImageError(
                f"image {image} has several tags: {', '.join(theirs)}",
                hint="remove them one by one, or all with the image by --force",
            )
        else:
            gone = theirs
        if not path.is_dir() and not gone:
            raise ImageError(f"no image {text}", hint="another process has removed it")
        keep = len(gone) < len(theirs)
        users = needs().get(image) if needs and not keep and path.is_dir() else None
        if users and not force:
            raise ImageError(
                f"image {image} is needed by {', '.join(users)}",
                hint="remove what needs it first, or only the image by --force",
            )
        return _remove(path, gone, keep=keep)


@cache.disk_errors()
def prune(
    *, everything: bool = False, needs: Needs | None = None, report: Reporter | None = None
) -> list[Removed]:
    """Remove what nobody has a use for, and tags that mean nothing.

    That is what is damaged or of another version of microvm, and what has no tag, but for the
    image of an ordinary run and those that are needed; and what the steps of builds have changed;
    also what builds that were killed have left; see `leftovers` for those in $TMPDIR.

    :param everything: the image of an ordinary run, too, if it has no tag; it is built again when
        it is wanted.
    :param needs: what needs which images.
    :raises ImageError: nothing can be removed there.
    """
    report = report or NullReporter()
    kept = {*(needs() if needs else ()), *(() if everything else _defaults())}
    removed = []
    root = cache.root()
    lock.sweep(root)
    for folder in root.glob("[!.]*/"):
        if folder.name not in {"kernels", "tags"}:  # the items of these two folders share one lock
            lock.sweep(cache.folder(folder.name))
    tags.sweep(report)
    cached.sweep()
    for path, _ in entries():
        if _is_used(path, kept):
            continue
        with lock.attempt(path) as ours:
            if not ours:
                continue  # a process is just making it, and gives it a tag before it is done
            with tags.changing(report):
                if not _is_used(path, kept):
                    removed.append(_remove(path, tags.of(path.name), keep=False))
    dangling = {tag: name for tag, name in tags.all_tags().items() if not _is_there(name)}
    if dangling:
        with tags.changing(report):
            gone = [tag for tag, name in dangling.items() if tags.image_of(tag) == name]
            for tag in gone:
                tags.clear(tag)
            removed.append(Removed(tuple(gone), ""))
    for layer in sorted(cache.folder("layers").glob("[!.]*")):
        with lock.attempt(layer) as ours:
            if ours:
                cache.clear(layer)
    stale_folders.remove(report)
    return removed


def _remove(path: Path, gone: list[str], *, keep: bool) -> Removed:
    """Remove tags and, unless it is to be kept, the image; the caller has both locks."""
    for tag in gone:
        tags.clear(tag)
    there = not keep and path.is_dir()
    if there:
        with cache.scratch(path) as grave:
            path.replace(grave)  # so that nobody ever finds half an image
    return Removed(tuple(gone), path.name if there else "")


def _is_used(path: Path, kept: set[str]) -> bool:
    try:
        load(path)
    except ImageError:
        return False
    return path.name in kept or bool(tags.of(path.name))


def _is_there(image: str) -> bool:
    try:
        return folder_of(image).is_dir()
    except ImageError:
        return False


def _defaults() -> set[str]:
    names = set()
    for arch in arches.ARCHES.values():
        with suppress(ImageError):
            names.add(defaults.noted(arch))
    return names

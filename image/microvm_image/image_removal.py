"""The removal of images from the cache: of one image, or of all unused images.

A running machine is not disturbed, because it has opened the files of its image. If an image was
built from another image, it contains copies of the files, so the other image may be removed.
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
"""A function that returns what needs each image, such as snapshots: phrases, by image name."""


@dataclass(frozen=True, slots=True)
class Removed:
    """The result of a removal: the tags that were removed, and the image if it was removed, too.

    :ivar image: The name of the removed image; "" if no image was removed, because it has other
        tags.
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
    """Remove the image with this tag, name or digest; or only the tag, if the image has more tags.

    If `text` is the name or digest, the image must not have several tags. An image that `needs`
    names is not removed. `force` disables both checks.

    :param text: A tag, or the name or digest of an image, as `microvm.images.find` accepts it.
    :param force: True to remove also an image that is needed, or that has several tags none of
        which is `text`.
    :param needs: A function that returns what needs each image; None if nothing does.
    :raises ImageError: The image does not exist, has several tags, or is needed.
    """
    image = find(text)
    path = folder_of(image)
    report = report or NullReporter()
    with lock.held(path, report), tags.changing(report):
        its_tags = tags.of(image)
        if text != image and (tag := _tag(text)) in its_tags:
            removed_tags = [tag]
        elif len(its_tags) > 1 and not force:
            raise ImageError(
                f"image {image} has several tags: {', '.join(its_tags)}",
                hint="remove the tags one by one, or the image with all tags by --force",
            )
        else:
            removed_tags = its_tags
        if not path.is_dir() and not removed_tags:
            raise ImageError(f"no image {text}", hint="another process has removed it")
        keep = len(removed_tags) < len(its_tags)
        users = needs().get(image) if needs and not keep and path.is_dir() else None
        if users and not force:
            raise ImageError(
                f"image {image} is needed by {', '.join(users)}",
                hint="remove these snapshots or stop these pools first, or use --force",
            )
        return _remove(path, removed_tags, keep=keep)


@cache.disk_errors()
def prune(
    *, everything: bool = False, needs: Needs | None = None, report: Reporter | None = None
) -> list[Removed]:
    """Remove the images that nothing needs, tags of missing images, and files of killed builds.

    An image is removed if it is damaged, if another version of microvm built it, or if it has no
    tag and is neither the default image nor needed, as `needs` says. The results of build
    steps are removed, too. `stale_folders` removes the folders that killed builds have left in
    $TMPDIR.

    :param everything: True to remove also the default image, if it has no tag. It is built again
        when it is needed.
    :raises CacheError: The cache cannot be written.
    """
    report = report or NullReporter()
    kept = {*(needs() if needs else ()), *(() if everything else _defaults())}
    removed = []
    root = cache.root()
    lock.sweep(root)
    for folder in root.glob("[!.]*/"):
        # `lock.sweep` expects one lock for each file. The folders of kernels and of tags have one
        # lock for all their files, so `cached.sweep` and `tags.sweep` clean them up below.
        if folder.name not in {"kernels", "tags"}:
            lock.sweep(cache.folder(folder.name))
    tags.sweep(report)
    cached.sweep()
    for path, _ in entries():
        if _is_used(path, kept):
            continue
        with lock.attempt(path) as ours:
            if not ours:
                continue  # another process holds the image's lock, because it is building the image
            with tags.changing(report):
                if not _is_used(path, kept):
                    removed.append(_remove(path, tags.of(path.name), keep=False))
    dangling = {tag: name for tag, name in tags.all_tags().items() if not defaults.exists(name)}
    if dangling:
        with tags.changing(report):
            removed_tags = [tag for tag, name in dangling.items() if tags.image_of(tag) == name]
            for tag in removed_tags:
                tags.clear(tag)
            removed.append(Removed(tuple(removed_tags), ""))
    for layer in sorted(cache.folder("layers").glob("[!.]*")):
        with lock.attempt(layer) as ours:
            if ours:
                cache.clear(layer)
    stale_folders.remove(report)
    return removed


def _tag(text: str) -> str:
    """Return the full tag that a user means by `text`; "" if no image has such a tag."""
    with suppress(ImageError):  # the text may be a digest, or the name of an image
        return tags.meant(text) or ""
    return ""


def _remove(path: Path, removed_tags: list[str], *, keep: bool) -> Removed:
    """Remove tags and, unless `keep` is set, the image. The caller holds the locks of both."""
    for tag in removed_tags:
        tags.clear(tag)
    is_removed = not keep and path.is_dir()
    if is_removed:
        with cache.scratch(path) as removed:
            # rename the image first, so that no process finds an image that is only partly removed
            path.replace(removed)
    return Removed(tuple(removed_tags), path.name if is_removed else "")


def _is_used(path: Path, kept: set[str]) -> bool:
    try:
        load(path)
    except ImageError:
        return False
    return path.name in kept or bool(tags.of(path.name))


def _defaults() -> set[str]:
    names = set()
    for arch in arches.ARCHES.values():
        with suppress(ImageError):
            names.add(defaults.noted(arch))
    return names

"""Images with Python packages, which are built when they are first requested."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Sequence
from pathlib import Path

from microvm import cache, images
from microvm.cache import lock
from microvm.concurrency.threads import in_stoppable_thread
from microvm.errors import ImageError
from microvm.images import Image, readymade, renewal, tags
from microvm.progress import NoticeReporter, Reporter
from microvm_image.build import build
from microvm_image.pip import requirements
from microvm_image.recipe import Recipe
from microvm_image.step_runner import StepRunner

_TAG_LENGTH = 80

# Size of the machine in which pip installs packages: the default size of `microvm image build`.
_MEMORY, _DISK = "1G", "8G"


async def find_or_build(
    image: Image | str | Path,
    packages: Sequence[str],
    notify: Callable[[str], None],
    arch: str | None = None,
) -> Image:
    """Return an image with Python packages added. Build it in a thread if it is missing.

    :param image: The image to which the packages are added, or its name, tag or path. A ready-made
        image is built if it is missing.
    :param packages: The packages, such as `numpy>=2`.
    :param notify: A function that is called in the event loop with notices for the user.
    :param arch: The architecture of the image; see `readymade.find_or_build`.
    :raises ImageError: The image cannot be built, such as because a package does not exist.
    """
    import asyncio

    loop = asyncio.get_running_loop()
    report = NoticeReporter(lambda text: loop.call_soon_threadsafe(notify, text))
    return await in_stoppable_thread(find, image, packages, report, arch)


def find(
    image: Image | str | Path, packages: Sequence[str], report: Reporter, arch: str | None = None
) -> Image:
    """Return an image with Python packages added. Build it if it is missing.

    The image is stored under a tag that names the packages, and is found by this tag. So the
    versions of the packages stay the same until the tag is removed, or the base image changes.

    :raises ImageError: The image cannot be built, such as because a package does not exist.
    """
    base = (
        images.load(image, arch)
        if isinstance(image, Image)
        else readymade.find(image, report, arch)
    )
    if not packages:
        return base
    wanted = sorted({requirements.check(each) for each in packages})
    tag = _tag(base, wanted)
    if found := _existing(tag):
        return found
    with cache.disk_errors(), lock.held(cache.folder("readymade") / tag, report):
        if found := _existing(tag):
            return found
        if renewal.renew(tag, report):
            return images.load(tag)
        report.notice(f"image {tag}: installing {', '.join(wanted)}")
        source = base.name if base.is_in_cache else str(base.path)
        recipe = Recipe(source=source, pip=tuple(wanted), warm=base.manifest.warm)
        runner = StepRunner(memory=_MEMORY, disk=_DISK, notify=report.notice)
        built = build(recipe, arch=base.manifest.arch, tag=tag, run=runner, report=report)
        renewal.note(built)
        return built


def _existing(tag: str) -> Image | None:
    """Return the image that has a tag; None if no image has it, or the image must be rebuilt.

    An imported image is rebuilt, because the author of its file may have chosen the tag.
    """
    name = tags.image_of(tag)
    try:
        found = images.load(name) if name and not renewal.is_outdated(tag) else None
    except ImageError:
        return None
    return found if found and not found.is_imported else None


def _tag(base: Image, packages: Sequence[str]) -> str:
    """Return the tag for an image with packages, such as `python+numpy:1f0c2a3b4d5e`.

    If an update of microvm renews `base`, its name changes, but the tag stays the same.
    """
    made = base.manifest
    content = (made.disk_sha256, made.config, made.warm) if base.disk else base.name
    digest = hashlib.sha256(repr((content, packages)).encode()).hexdigest()[:12]
    known = (tag.partition(":")[0] for tag in tags.of(base.name))
    name = next(known, made.base.partition(" ")[0])
    text = "+".join((name, *(re.split(r"[^\w.-]", each)[0] for each in packages)))
    tag = f"{re.sub(r'[^A-Za-z0-9.+~-]+', '-', text)[:_TAG_LENGTH]}:{digest}"
    return tags.of_arch(tag, made.arch)

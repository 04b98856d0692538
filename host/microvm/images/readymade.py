"""Ready-made images, such as `python`, which are built when they are first requested by name.

Other modules of this package do not import the builder of images, `microvm_image`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from microvm import cache, images
from microvm.cache import lock
from microvm.concurrency.threads import in_stoppable_thread
from microvm.errors import ImageError
from microvm.images import Image, tags
from microvm.log import Area
from microvm.progress import NoticeReporter, Reporter

_logger = Area("image")


class ReadyMade(NamedTuple):
    """The description of a ready-made image, such as `python`.

    :ivar registry: The OCI image that is its source.
    :ivar packages: The Debian packages that are its source if the registry cannot be reached.
    :ivar commands: The commands that the image contains. The first one is the default command of
        `microvm run`.
    :ivar warm: The command that runs before a guest is saved as a template.
    """

    registry: str
    packages: tuple[str, ...]
    commands: tuple[str, ...]
    warm: tuple[str, ...]


DEBIAN = "debian:trixie"

IMAGES = {
    "python": ReadyMade(
        "docker://python:3.13-slim",
        ("python3", "python-is-python3", "python3-pip"),
        ("python3", "python", "python3.13"),
        ("python3", "-c", "pass"),
    ),
    "node": ReadyMade("docker://node:22-slim", ("nodejs",), ("node",), ("node", "-e", "0")),
}
"""The descriptions of all ready-made images, by the names of the images."""


def having(command: str) -> str:
    """Return the name of the ready-made image that contains a command, or "" if none does."""
    return next((name for name, image in IMAGES.items() if command in image.commands), "")


def is_missing(name: object) -> bool:
    """Return True if `name` is a ready-made image, such as `python`, not yet built on this host."""
    if not isinstance(name, str) or name not in IMAGES:
        return False

    return tags.image_of(tags.parse(name)) is None


async def find_or_build(image: Image | str | Path | None, notify: Callable[[str], None]) -> Image:
    """Return an image by its name, tag or path; for None the default image. Build it if missing.

    A missing image is built only if it is the default image or ready-made. It is built in a thread,
    so that the event loop continues.

    :param notify: A function that is called in the event loop with notices for the user.
    """
    if image is not None and not is_missing(image):
        return images.load(image)
    import asyncio

    from microvm_image.defaults import default

    loop = asyncio.get_running_loop()
    report = NoticeReporter(lambda text: loop.call_soon_threadsafe(notify, text))
    if image is None:
        return await in_stoppable_thread(default, report=report)
    return await in_stoppable_thread(find, str(image), report)


def find(name: str | Path, report: Reporter) -> Image:
    """Return the image of that name, tag or path. Build it if it is missing and has a recipe."""
    if is_missing(name):
        name = str(name)
        with cache.disk_errors(), lock.held(cache.folder("readymade") / name, report):
            # build the image, unless another process has built it while this process waited for the
            # lock
            if is_missing(name):
                _build(name, IMAGES[name], report)
    return images.load(name)


def _build(name: str, wanted: ReadyMade, report: Reporter) -> None:
    from microvm_image.build import build
    from microvm_image.recipe import Recipe

    warm = (wanted.warm,)
    try:
        image = build(Recipe(source=wanted.registry, warm=warm), tag=name, report=report)
    except ImageError as error:
        try:
            packages = Recipe(
                source=DEBIAN, packages=wanted.packages, cmd=wanted.commands[:1], warm=warm
            )
            build(packages, tag=name, report=report)
        except ImageError as second:
            raise ImageError(
                f"no image {name} can be had: {error.message}; {second.message}",
                hint=second.hint,
                detail=second.detail,
            ) from second
        _logger.info("%s", error.message)
        why = f"{wanted.registry} cannot be had (-v shows why)"
        report.notice(f"image {name}: from packages of {DEBIAN}, as {why}")
    else:
        report.notice(f"image {name}: from {image.manifest.source}")

"""Ready-made images, such as `python`, which are built when they are first requested by name.

Other modules of this package do not import the builder of images, `microvm_image`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from microvm import arches, cache, images
from microvm.cache import lock
from microvm.concurrency.threads import in_stoppable_thread
from microvm.errors import ImageError
from microvm.images import Image, renewal, tags
from microvm.log import Area
from microvm.progress import NoticeReporter, Reporter

_logger = Area("image")


class ReadyMade(NamedTuple):
    """The description of a ready-made image, such as `python`.

    :ivar sources: The sources of the image, in the order in which they are tried: `DEBIAN`, or an
        image in a registry.
    :ivar packages: The packages that are installed if the source is `DEBIAN`.
    :ivar commands: The commands that the image contains. The first one is the default command of
        `microvm run`.
    :ivar warm: The command that runs before a guest is saved as a template.
    """

    sources: tuple[str, ...]
    packages: tuple[str, ...]
    commands: tuple[str, ...]
    warm: tuple[str, ...]


DEBIAN = "debian:trixie"

_PYTHON = (
    *("python3", "python-is-python3", "python3-pip", "python3-venv"),
    # programs that installers and tests expect in every Debian, but that the smallest one lacks
    *("adduser", "procps"),
)

_AGENT = (
    *_PYTHON,
    *("python3-pytest", "python3-numpy", "python3-pandas", "python3-matplotlib"),
    "nodejs",
    *("gcc", "libc6-dev", "make"),
    *("bash", "coreutils", "tmux", "less", "file", "patch", "unzip"),
    *("git", "curl", "ca-certificates", "ripgrep", "jq"),
)

IMAGES = {
    # Use the registry's large image of Python, because its smaller ones lack the programs of
    # `adduser` and `procps`. It is five times as large as Debian's packages, so Debian is first.
    "python": ReadyMade(
        (DEBIAN, "docker://python:3.13-trixie"),
        _PYTHON,
        ("python3", "python", "python3.13", "pip", "pip3"),
        ("python3", "-c", "pass"),
    ),
    "node": ReadyMade(
        ("docker://node:22-slim", DEBIAN), ("nodejs",), ("node",), ("node", "-e", "0")
    ),
    "agent": ReadyMade(
        (DEBIAN,),
        _AGENT,
        (
            *("bash", "git", "curl", "tmux", "rg", "jq", "gcc", "cc", "make", "pytest", "python3"),
            *("python", "pip", "node", "ps", "adduser", "less", "file", "patch"),
        ),
        ("python3", "-c", "pass"),
    ),
}
"""The descriptions of all ready-made images, by the names of the images."""


DEFAULT = "alpine"
"""The name of the default image, if that is Alpine and no image has this tag."""


def having(command: str) -> str:
    """Return the name of the ready-made image that contains a command, or "" if none does."""
    return next((name for name, image in IMAGES.items() if command in image.commands), "")


def needs_build(name: object, arch: str | None = None) -> bool:
    """Return True if `find` may have to build or renew the image of this name before its use.

    It is True for `alpine`, unless an image has this tag, and for a ready-made image that is
    missing or outdated.

    :param arch: The architecture of the image; by default the architecture of this host.
    """
    if not isinstance(name, str) or name not in {DEFAULT, *IMAGES}:
        return False
    tag = tags.of_arch(name, arches.find(arch).name)
    if name == DEFAULT:
        return tags.image_of(tag) is None
    return tags.image_of(tag) is None or renewal.is_outdated(tag)


async def find_or_build(
    image: Image | str | Path | None, notify: Callable[[str], None], arch: str | None = None
) -> Image:
    """Return an image by its name, tag or path; for None the default image. Build it if missing.

    A missing image is built only if it is the default image or ready-made. It is built in a thread,
    so that the event loop continues. A ready-made image that another version of microvm has built
    is renewed.

    :param notify: A function that is called in the event loop with notices for the user.
    :param arch: The architecture that the image must have. None is the architecture of this host
        for the default image and ready-made images, and any for others.
    """
    if image is not None and not needs_build(image, arch):
        return images.load(image, arch)
    import asyncio

    from microvm_image.defaults import default

    loop = asyncio.get_running_loop()
    report = NoticeReporter(lambda text: loop.call_soon_threadsafe(notify, text))
    if image is None:
        return await in_stoppable_thread(default, arch=arch, report=report)
    return await in_stoppable_thread(find, str(image), report, arch)


def find(name: str | Path, report: Reporter, arch: str | None = None) -> Image:
    """Return the image of that name, tag or path. Build or renew it first if it is ready-made.

    The name `alpine` means the default image, unless an image has this tag.

    :param arch: As for `find_or_build`.
    """
    if name == DEFAULT and needs_build(name, arch):
        from microvm_image.defaults import alpine

        return alpine(arch=arch, report=report)
    if needs_build(name, arch):
        name, target = str(name), arches.find(arch).name
        tag = tags.of_arch(name, target)
        with cache.disk_errors(), lock.held(cache.folder("readymade") / tag, report):
            # build the image, unless another process has built it while this process waited for the
            # lock
            if needs_build(name, arch) and not renewal.renew(tag, report):
                renewal.note(_build(name, IMAGES[name], target, report))
    return images.load(name, arch)


def _build(name: str, wanted: ReadyMade, arch: str, report: Reporter) -> Image:
    """Build a ready-made image from the first source that is available.

    :raises ImageError: None of the sources can be had.
    """
    from microvm.system.tools import merged

    failed: list[ImageError] = []
    for source in wanted.sources:
        try:
            image = _build_from(source, name, wanted, arch, report)
        except ImageError as error:
            failed.append(error)
        else:
            shown = f"packages of {source}" if source == DEBIAN else image.manifest.source
            why = f", as {wanted.sources[0]} cannot be had (-v shows why)" if failed else ""
            for each in failed:
                _logger.info("%s", each.message)
            report.notice(f"image {name}: from {shown}{why}")
            return image
    why = "; ".join(error.message for error in failed)
    raise merged(
        f"no image {name} can be had: {why}", failed, detail=failed[-1].detail
    ) from failed[-1]


def _build_from(source: str, name: str, wanted: ReadyMade, arch: str, report: Reporter) -> Image:
    from microvm_image.build import build
    from microvm_image.recipe import Recipe
    from microvm_image.step_runner import StepRunner

    is_debian = source == DEBIAN
    packages = wanted.packages if is_debian else ()
    cmd = wanted.commands[:1] if is_debian else None
    recipe = Recipe(source=source, packages=packages, cmd=cmd, warm=(wanted.warm,))
    # Debian's packages for another architecture are installed in a machine.
    runner = StepRunner(memory="1G", disk="8G", notify=report.notice)
    return build(recipe, arch=arch, tag=name, run=runner, report=report)

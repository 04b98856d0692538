"""The function that builds an image from a recipe."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path

from microvm import arches, cache, guest_pack
from microvm.arches import Arch
from microvm.cache import lock
from microvm.errors import ImageError
from microvm.images import MANIFEST, Image, folder_of, load, readymade, tags
from microvm.progress import NullReporter, Reporter
from microvm.system import private
from microvm_image import defaults, downloads, programs
from microvm_image import rootfs as bases
from microvm_image.builder import CommandRunner, ImageBuilder
from microvm_image.checks import check
from microvm_image.kernel import selection
from microvm_image.limits import Limits
from microvm_image.pip import download, guest_python
from microvm_image.pip.wheels import Wheels
from microvm_image.plan import make_plan
from microvm_image.recipe import Recipe
from microvm_image.source import ImageSource
from microvm_image.sources.find import find

ALPINE = "alpine"
"""The name of the default source of images, Alpine's minirootfs."""


def build(
    recipe: Recipe | None = None,
    *,
    arch: str | None = None,
    rootfs: Path | None = None,
    kernel: str | Path | None = None,
    mirror: str | None = None,
    output: Path | None = None,
    tag: str | None = None,
    limits: Limits | None = None,
    run: CommandRunner | None = None,
    report: Reporter | None = None,
) -> Image:
    """Return the image of a recipe, and build it if it does not exist yet.

    The changes that each command of the recipe makes are kept in the cache. A command runs again
    only if something before it in the recipe has changed. If the source of the recipe is a
    ready-made image, that image is built first.

    :param recipe: The recipe; by default the recipe of the default image.
    :param rootfs: The path of the Alpine archive, or of its folder; see `rootfs.find` for the
        default.
    :param kernel: The path of a kernel, `small` or `debian`; see `selection.given` for the default.
    :param mirror: The address from which the Alpine archive is downloaded if this host lacks it.
    :param output: The folder that becomes the image; by default a folder in the cache.
    :param tag: A tag for an image in the cache.
    :param run: A function that runs the commands of the recipe. It is required if there are any.
    :raises ImageError: A file is missing or invalid, a step failed, or the guest pack has another
        version of the protocol. Incomplete files are removed.
    :raises CacheError: The cache cannot be used, for example because the disk is full.
    """
    recipe = recipe or Recipe()
    target = arches.find(arch)
    tag = tags.of_arch(tag, target.name) if tag else None
    report = report or NullReporter()
    if output:
        _check_output(output.absolute())
    guest_pack.check(target, programs.schema())
    with cache.disk_errors():
        added = check(recipe, target, kernel, limits)
    _build_ready_made(recipe, target, report)
    with cache.disk_errors(), downloads.in_use(report), ExitStack() as files:
        if recipe.source in {"", ALPINE} and not recipe.packages:
            base = bases.find(target, rootfs, mirror, report)
        else:
            base = files.enter_context(
                find(
                    recipe.source or ALPINE,
                    target,
                    packages=recipe.packages,
                    locate=recipe.path,
                    limits=limits,
                    report=report,
                )
            )
        parts = programs.build(target, report), selection.find(target, kernel, report), base
        limits = limits or Limits()
        wheels = files.enter_context(_wheels(recipe, base, target, limits, report))
        plan = make_plan(target, *parts, recipe, limits, added, wheels)
        name = plan.name(plan.digest)
        path = output.absolute() if output else folder_of(name)
        image = _existing(path, name)
        is_default = recipe == Recipe() and not (rootfs or kernel or mirror or output)
        with lock.held(path, report) if tag or image is None else nullcontext():
            if tag or image is None:
                image = _existing(path, name, report)
                image = image or ImageBuilder(plan, run, report).build(path, name)
            # Assign the tag while this process holds the lock of the image, so that no other
            # process removes the image because it has no tag.
            if tag:
                tags.assign(tag, name, report)
            if is_default:
                defaults.remember(target, image)
    downloads.expire()
    return image


@contextmanager
def _wheels(
    recipe: Recipe, source: ImageSource, arch: Arch, limits: Limits, report: Reporter
) -> Iterator[Wheels | None]:
    """Context manager that yields the wheels of a recipe's Python packages; None if it has none."""
    if not recipe.pip:
        yield None
        return
    with source.tree(limits) as tree:
        python = guest_python.find(tree, recipe.config(source.config).env, arch.name)
    with download.downloaded(recipe.pip, python, limits, report) as wheels:
        yield wheels


def _build_ready_made(recipe: Recipe, arch: Arch, report: Reporter) -> None:
    """Build or renew the source of a recipe if it is a ready-made image, such as `python`."""
    if recipe.source == ALPINE or recipe.packages:
        return
    if not readymade.needs_build(recipe.source, arch.name):
        return
    # if a file or folder has the same name as a ready-made image, the recipe means the file or
    # folder
    if not recipe.path(recipe.source).exists():
        readymade.find(recipe.source, report, arch.name)


def _check_output(path: Path) -> None:
    """Check that no other user can replace the folder to which an image will be written."""
    with cache.disk_errors():
        found = private.exposure(str(path.parent))
    if found:
        raise ImageError(
            f"cannot write an image to {path}: {found.path} {found.why}",
            hint="choose a folder that only you can change; or build it in the cache, without -o, "
            "and write it to a file by `microvm image export`",
        )


def _existing(path: Path, name: str, report: Reporter | None = None) -> Image | None:
    """Return the image at a path; None if it is missing, damaged, imported or not called `name`.

    :raises ImageError: The path exists, but is not an image.
    """
    try:
        image = load(path)
    except ImageError as error:
        if path.exists() and not _is_replaceable(path):
            message = f"cannot write an image to {path}: it exists, and is no image"
            raise ImageError(message, hint="remove it, or choose another path") from None
        if report and path.is_dir() and any(path.iterdir()):
            report.notice(f"{error.message}: {name} is built again")
        return None
    return image if image.name == name and not image.is_imported else None


def _is_replaceable(path: Path) -> bool:
    if path.parent == cache.folder("images"):
        # Only microvm writes to the cache. So everything at this path is an image, even if damaged,
        # and may be replaced.
        return True
    return path.is_dir() and ((path / MANIFEST).exists() or not any(path.iterdir()))

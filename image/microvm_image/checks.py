"""The checks before a build, which find faults before any file is downloaded or compiled."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from microvm.arches import Arch
from microvm.errors import ImageError
from microvm_image import programs, skopeo
from microvm_image.kernel import choice
from microvm_image.recipe import Add, Recipe
from microvm_image.sources import debian


def check(recipe: Recipe, arch: Arch, kernel: str | Path | None = None) -> None:
    """Check a recipe, and that this host has all files and tools that the build needs.

    :param kernel: the kernel that the user asks for, as `choice.given` takes it.
    :raises ImageError: a file or tool is missing. The message names all that are missing.
    """
    faults = [*_faults(recipe, arch, kernel)]
    if len(faults) == 1:
        raise faults[0]
    if faults:
        raise ImageError(
            "; ".join(fault.message for fault in faults),
            hint="; ".join(dict.fromkeys(fault.hint for fault in faults if fault.hint)),
        )


def _faults(recipe: Recipe, arch: Arch, kernel: str | Path | None) -> Iterator[ImageError]:
    for step in recipe.steps:
        if isinstance(step, Add) and not (recipe.folder / step.source).exists():
            yield ImageError(f"{step}: there is no such file or folder")
    try:
        programs.check(arch)
    except ImageError as error:
        yield error
    try:
        choice.check(arch, kernel)
    except ImageError as error:
        yield error
    try:
        _check_source(recipe, arch)
    except ImageError as error:
        yield error


def _check_source(recipe: Recipe, arch: Arch) -> None:
    if recipe.source.startswith(skopeo.SCHEME):
        skopeo.check()
    elif recipe.source.startswith(debian.SCHEME):
        debian.check(recipe.source, recipe.packages, arch)

"""The checks before a build, which find faults before any file is downloaded or compiled."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from microvm.arches import Arch
from microvm.errors import ImageError
from microvm_image import programs, skopeo
from microvm_image.kernel import selection
from microvm_image.layer import HostLayer, unreadable
from microvm_image.limits import Budget, Limits
from microvm_image.recipe import AddStep, Recipe
from microvm_image.sources import debian


def check(
    recipe: Recipe,
    arch: Arch,
    kernel: str | Path | None = None,
    limits: Limits | None = None,
) -> None:
    """Check a recipe, and that this host has all files and tools that the build needs.

    :param kernel: the kernel that the user asks for, as `selection.given` takes it.
    :param limits: the limits of each file or folder that the recipe adds.
    :raises ImageError: a file or tool is missing, or a file cannot be read. The message names all
        faults that were found.
    :raises UsageError: an added file is outside the folders that the recipe may use.
    """
    faults = [*_faults(recipe, arch, kernel, limits)]
    if len(faults) == 1:
        raise faults[0]
    if faults:
        raise ImageError(
            "; ".join(fault.message for fault in faults),
            hint="; ".join(dict.fromkeys(fault.hint for fault in faults if fault.hint)),
        )


def _faults(
    recipe: Recipe, arch: Arch, kernel: str | Path | None, limits: Limits | None
) -> Iterator[ImageError]:
    for step in recipe.steps:
        if isinstance(step, AddStep):
            try:
                _check_added(recipe.path(step.source), step, limits)
            except ImageError as error:
                yield error
    try:
        programs.check(arch)
    except ImageError as error:
        yield error
    try:
        selection.check(arch, kernel)
    except ImageError as error:
        yield error
    try:
        _check_source(recipe, arch)
    except ImageError as error:
        yield error


def _check_added(path: Path, step: AddStep, limits: Limits | None) -> None:
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        raise ImageError(f"{step}: there is no such file or folder") from None
    except OSError as error:
        fault = unreadable(path, error)
        raise ImageError(f"{step}: {fault.message}", hint=fault.hint) from error
    budget = Budget(limits)
    try:
        with budget.reading(str(step.source)):
            HostLayer(path).check(budget)
    except ImageError as error:
        raise ImageError(f"{step}: {error.message}", hint=error.hint) from error


def _check_source(recipe: Recipe, arch: Arch) -> None:
    if recipe.source.startswith(skopeo.SCHEME):
        skopeo.check()
    elif recipe.source.startswith(debian.SCHEME):
        debian.check(recipe.source, recipe.packages, arch)

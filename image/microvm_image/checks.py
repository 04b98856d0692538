"""The checks of a recipe and of this host before anything is downloaded or compiled."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from microvm.arches import Arch
from microvm.errors import ImageError
from microvm.system.tools import merged
from microvm_image import programs, skopeo
from microvm_image.added_files import AddedFiles
from microvm_image.kernel import selection
from microvm_image.limits import Limits
from microvm_image.pip import download
from microvm_image.recipe import AddStep, Recipe
from microvm_image.sources import debian


def check(
    recipe: Recipe,
    arch: Arch,
    kernel: str | Path | None = None,
    limits: Limits | None = None,
) -> list[AddedFiles]:
    """Check a recipe, and that this host has all files and tools that the build needs.

    :param kernel: The kernel that the user wants, in the form for `selection.given`.
    :return: The files of each step that adds files, in the order of the steps.
    :raises ImageError: A file or tool is missing, or a file cannot be read. The message names all
        faults that were found.
    :raises UsageError: An added file is outside the folders that the recipe may use.
    """
    added: list[AddedFiles] = []
    faults: list[ImageError] = []
    for step in recipe.steps:
        if isinstance(step, AddStep):
            with _collected(faults):
                added.append(AddedFiles(step, recipe, limits))
    with _collected(faults):
        programs.check(arch)
    with _collected(faults):
        selection.check(arch, kernel)
    with _collected(faults):
        _check_source(recipe, arch)
    if recipe.pip:
        with _collected(faults):
            download.find_python()
    if len(faults) == 1:
        raise faults[0]
    if faults:
        raise merged("; ".join(fault.message for fault in faults), faults)
    return added


@contextmanager
def _collected(faults: list[ImageError]) -> Iterator[None]:
    try:
        yield
    except ImageError as error:
        faults.append(error)


def _check_source(recipe: Recipe, arch: Arch) -> None:
    if recipe.source.startswith(skopeo.SCHEME):
        skopeo.check()
    elif recipe.source.startswith(debian.SCHEME):
        debian.check(recipe.source, recipe.packages, arch)

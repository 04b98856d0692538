"""The guests that pytest's option `--arch` selects, and images for them."""

from __future__ import annotations

import os
from typing import Any, cast

import microvm_image.build
from microvm import arches
from microvm.arches import Arch
from microvm.images import Image
from microvm.options import Architecture
from microvm_image.recipe import Recipe


def target() -> Arch:
    """Return the architecture of the guests; tests/conftest.py sets the variable."""
    return arches.find(os.environ.get("MICROVM_ARCH"))


def name() -> Architecture:
    """Return the value of the option `arch` for the selected guests."""
    return cast(Architecture, target().name)


def build(recipe: Recipe | None = None, **options: Any) -> Image:
    """Build an image of the selected architecture; see `microvm_image.build.build`."""
    return microvm_image.build.build(recipe, arch=target().name, **options)

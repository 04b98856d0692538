"""The guests that pytest's option `--arch` selects, and images for them."""

from __future__ import annotations

import os
from typing import Any

import microvm_image.build
from microvm import arches
from microvm.arches import Arch
from microvm.images import Image
from microvm_image.recipe import Recipe


def target() -> Arch:
    """Return the architecture of the guests; tests/conftest.py sets the variable."""
    return arches.find(os.environ.get("MICROVM_ARCH"))


def build(recipe: Recipe | None = None, **options: Any) -> Image:
    """Build an image of the selected architecture; see `microvm_image.build.build`."""
    return microvm_image.build.build(recipe, arch=target().name, **options)

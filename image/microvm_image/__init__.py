"""Builds images, the folders from which machines start.

`default` returns the image that `microvm run` uses by default, and builds it if it does not exist.
`build.build` builds an image from a recipe. The package `microvm.images` of the host finds and
describes images that exist already.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from microvm_image.defaults import default
    from microvm_image.image_removal import remove

__all__ = ["default", "remove"]

_MODULES = {"default": "defaults", "remove": "image_removal"}


def __getattr__(name: str) -> Any:
    # Import the module of a function only when the function is first used. This saves time at the
    # start of a machine, which uses only the function `default`.
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)

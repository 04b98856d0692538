"""The builder of images.

`default` returns the image that `microvm run` uses if no other is named, and builds it if it does
not exist. `build.build` builds an image from a recipe. `microvm.images` describes and finds images
that exist.
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
    # A start of a machine needs only `default`, so each name is imported when it is first used.
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)

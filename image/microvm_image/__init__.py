"""The builder of images: a root file system, a kernel and `sandboxd` become a folder that boots.

`default` is what an ordinary run calls: the image for this machine's environment, built if there
is none. `load` opens one by name or path, and `build.build` makes one from a recipe.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from microvm_image.defaults import default
    from microvm_image.image import Image, Manifest, installed, load
    from microvm_image.removal import remove

__all__ = ["Image", "Manifest", "default", "installed", "load", "remove"]


def __getattr__(name: str) -> Any:
    # Imported when it is asked for, so that nobody waits for the rest.
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = {"default": "defaults", "remove": "removal"}.get(name, "image")
    return getattr(importlib.import_module(f"{__name__}.{module}"), name)

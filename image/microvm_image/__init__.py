"""Turns an Alpine minirootfs, a kernel and `sandboxd` into a bootable image.

`default` is what an ordinary run calls: the image for this machine's environment, built if there
is none. `build` makes one from chosen parts, `load` opens one by name or path.
"""

from __future__ import annotations

from microvm_image.defaults import default
from microvm_image.image import Image, Manifest, installed, load, remove

__all__ = ["Image", "Manifest", "default", "installed", "load", "remove"]

"""Copies of an image with changed files or another manifest."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from microvm.images import DISK, INITRAMFS, KERNEL, MANIFEST, Image, load

PARTS = {KERNEL: "kernel", INITRAMFS: "initramfs", DISK: "disk"}


def changed_image(
    image: Image, folder: Path, files: Mapping[str, bytes] | None = None, **manifest: Any
) -> Image:
    """Copy an image into a new folder, and change the copy.

    :param files: new contents of files, by name; the sizes and digests in the manifest match them.
    :param manifest: new values of the manifest.
    """
    shutil.copytree(image.path, folder)
    for name, data in (files or {}).items():
        (folder / name).chmod(0o600)
        (folder / name).write_bytes(data)
        digest = hashlib.sha256(data).hexdigest()
        manifest |= {f"{PARTS[name]}_size": len(data), f"{PARTS[name]}_sha256": digest}
    (folder / MANIFEST).write_text(image.manifest._replace(**manifest).json())
    return load(folder)

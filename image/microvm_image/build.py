"""The making of an image from its parts."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from microvm import arch as arches
from microvm.arch import Arch
from microvm.cache import lock
from microvm.cache import store as cache
from microvm.errors import ImageError
from microvm.progress import NullReporter, Reporter
from microvm_image import defaults, initramfs, programs
from microvm_image import kernel as kernels
from microvm_image import rootfs as bases
from microvm_image.config import Config
from microvm_image.image import (
    FORMAT,
    INITRAMFS,
    KERNEL,
    MANIFEST,
    Image,
    Manifest,
    folder_of,
    load,
)
from microvm_image.kernel import Kernel
from microvm_image.programs import Programs
from microvm_image.rootfs import Base


@dataclass(frozen=True, slots=True)
class _Parts:
    arch: Arch
    programs: Programs
    kernel: Kernel
    base: Base

    @property
    def name(self) -> str:
        """The name of the image, which digests its parts and the way they are put together."""
        parts = (
            str(FORMAT),
            self.arch.name,
            self.programs.sha256,
            self.programs.schema,
            self.kernel.sha256,
            self.kernel.bus,
            *(
                f"{path} {hashlib.sha256(module).hexdigest()}"
                for path, module in self.kernel.modules.items()
            ),
            self.base.sha256,
        )
        digest = hashlib.sha256("\0".join(parts).encode()).hexdigest()
        return f"{self.base.name}-{self.arch.name}-{digest[:12]}"


def build(
    *,
    arch: str | None = None,
    rootfs: Path | None = None,
    kernel: str | Path | None = None,
    mirror: str | None = None,
    output: Path | None = None,
    report: Reporter | None = None,
) -> Image:
    """Return an image of these parts, made now if it is not there already.

    :param arch: `x86_64` or `aarch64`; by default this machine's.
    :param rootfs: the Alpine archive or a folder that holds it; see `rootfs.find` for the default.
    :param kernel: a file, `small` or `debian`; see `kernel.given` for the default.
    :param mirror: where to download the Alpine archive if it is nowhere here.
    :param output: the folder to become the image; by default one in the cache, named by its parts.
    :param report: who is told how far it is; nobody by default.
    :raises ImageError: a part cannot be had or is not what it should be, or the disk is full.
        Nothing half made is left.
    """
    report = report or NullReporter()
    target = arches.find(arch)
    with cache.disk_errors():
        parts = _Parts(
            target,
            programs.build(target, report),
            kernels.find(target, kernel, report),
            bases.find(target, rootfs, mirror, report),
        )
        path = output.absolute() if output else folder_of(parts.name)
        image = _existing(path, parts.name)
        if image is None:
            with lock.held(path, report):
                image = _existing(path, parts.name) or _make(path, parts, report)
        if not (rootfs or kernel or mirror or output):
            defaults.remember(target, image)
    return image


def _existing(path: Path, name: str) -> Image | None:
    """Return the image at the path if it is the same one, or None if one may be made there.

    :raises ImageError: something that is no image is in the way.
    """
    try:
        image = load(path)
    except ImageError:
        if path.exists() and not _replaceable(path):
            message = f"{path}: is there, and is no image"
            raise ImageError(message, hint="remove it, or choose another") from None
        return None
    return image if image.name == name else None


def _replaceable(path: Path) -> bool:
    if path.parent == cache.folder("images"):
        return True  # whatever is left of it was ours
    return path.is_dir() and ((path / MANIFEST).exists() or not any(path.iterdir()))


def _make(path: Path, parts: _Parts, report: Reporter) -> Image:
    report.step(f"building {parts.name}")
    with cache.staging(path) as folder:
        folder.mkdir()
        (folder / KERNEL).write_bytes(parts.kernel.data)
        with (folder / INITRAMFS).open("w+b") as file:
            initramfs.write(parts.base.entries(), parts.programs.files, parts.kernel.modules, file)
            size = file.tell()
            file.seek(0)
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        manifest = Manifest(
            format=FORMAT,
            name=parts.name,
            arch=parts.arch.name,
            base=parts.base.name,
            bus=parts.kernel.bus,
            kernel_version=parts.kernel.version,
            kernel_size=len(parts.kernel.data),
            kernel_sha256=parts.kernel.sha256,
            source=f"{parts.base.name}@sha256:{parts.base.sha256}",
            source_sha256=parts.base.sha256,
            daemon_sha256=parts.programs.sha256,
            schema=parts.programs.schema,
            initramfs_size=size,
            initramfs_sha256=digest,
            disk_size=0,
            disk_sha256="",
            config=Config(),
            warm=(),
            history=(),
        )
        (folder / MANIFEST).write_text(manifest.json())
    return load(path)

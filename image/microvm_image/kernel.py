"""Which kernel an image gets."""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from microvm.errors import ImageError
from microvm_image import built as builds
from microvm_image.arch import Arch, Magic
from microvm_image.progress import Reporter

Bus = Literal["pci", "mmio"]
"""How the virtio devices are attached: what the kernel has built in decides it."""

SMALL, DEBIAN = "small", "debian"
"""Names for our own kernel and for the distribution's, where a file may be named."""

LOCAL_VERSION = "-microvm"
"""How the version of our own kernel ends, which has virtio-mmio built in; Debian's has PCI."""


@dataclass(frozen=True, slots=True)
class Kernel:
    """A kernel that QEMU can start.

    :ivar version: as `uname -r` says it.
    """

    data: bytes
    sha256: str
    version: str
    bus: Bus


def given(arch: Arch, named: str | Path | None = None) -> Path | None:
    """Return the kernel that `named`, $MICROVM_KERNEL, or what was built here asks for.

    :param named: a file, or `small` or `debian`.
    :return: a file, there or not; None is the distribution's kernel.
    :raise ImageError: it is `small`, and none has been built.
    """
    named = named or os.environ.get("MICROVM_KERNEL")
    if named == DEBIAN:
        return None
    if named and named != SMALL:
        return Path(named)
    built = builds.newest(arch)
    if named and built is None:
        raise ImageError("no small kernel has been built", hint="`microvm kernel build` does it")
    return built


def find(arch: Arch, named: str | Path | None, report: Reporter) -> Kernel:
    """Return the kernel for an image: see `given` for which.

    :raise ImageError: it is not there or is no kernel, or the package cannot be had.
    """
    if chosen := given(arch, named):
        return _read(chosen, arch)
    from microvm_image import package

    wanted = package.Wanted(arch.kernel_package, "boot/vmlinuz-.*", stands_for="linux-image-")
    try:
        return _read(package.fetch(wanted, arch, report).path, arch)
    except ImageError as error:
        raise ImageError(
            f"no kernel can be had: {error.message}",
            hint="name one with --kernel or MICROVM_KERNEL",
            detail=error.detail,
        ) from error


def _read(path: Path, arch: Arch) -> Kernel:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ImageError(f"{path}: cannot read the kernel: {error.strerror}") from error
    version = _version(data)
    if not (version and any(_has(data, magic) for magic in arch.kernel_magics)):
        raise ImageError(
            f"{path}: not a kernel for {arch.name}",
            hint="--kernel and MICROVM_KERNEL take a file such as /boot/vmlinuz",
        )
    bus: Bus = "mmio" if version.endswith(LOCAL_VERSION) else "pci"
    return Kernel(data, hashlib.sha256(data).hexdigest(), version, bus)


def _has(data: bytes, magic: Magic) -> bool:
    return all(data[offset : offset + len(part)] == part for offset, part in magic)


def _version(data: bytes) -> str:
    if data[0x202:0x206] == b"HdrS":  # a bzImage is compressed, but its header points to a copy
        offset = 0x200 + int.from_bytes(data[0x20E:0x210], "little")
        found = re.match(rb"(\d[\x21-\x7e]+)", data[offset : offset + 256])
    else:
        found = re.search(rb"Linux version (\d[\x21-\x7e]+)", data)
    return found[1].decode() if found else ""

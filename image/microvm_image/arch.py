"""What differs from one architecture to the next."""

from __future__ import annotations

import os
from dataclasses import dataclass

from microvm.errors import ImageError

Magic = tuple[tuple[int, bytes], ...]
"""Offsets and the bytes that must stand there, all of them."""


@dataclass(frozen=True, slots=True)
class Arch:
    """One architecture of guests.

    :ivar name: as `uname -m` and Alpine call it.
    :ivar debian: as Debian calls it.
    :ivar alpine_sha256: of the pinned minirootfs archive, in hex.
    :ivar kernel_package: Debian's package that stands for the newest cloud kernel.
    :ivar kernel_arch: as the kernel's Makefile calls it.
    :ivar kernel_target: what that makes for QEMU to start; a vmlinux is not decompressed first.
    :ivar kernel_magics: the forms of kernel that QEMU can start; one must match.
    :ivar zig_target: what `zig cc -target` takes.
    """

    name: str
    debian: str
    alpine_sha256: str
    kernel_package: str
    kernel_arch: str
    kernel_target: str
    kernel_magics: tuple[Magic, ...]
    zig_target: str


ARCHES = {
    arch.name: arch
    for arch in (
        Arch(
            name="x86_64",
            debian="amd64",
            alpine_sha256="d4e6fd67dcf75e40c451560ac7265166c2b72a0f38ddc9aae756a7de3d1efa0c",
            kernel_package="linux-image-cloud-amd64",
            kernel_arch="x86_64",
            kernel_target="vmlinux",
            kernel_magics=(
                ((0x1FE, b"\x55\xaa"), (0x202, b"HdrS")),  # bzImage
                ((0, b"\x7fELF\x02\x01"), (18, b"\x3e\x00")),  # vmlinux
            ),
            zig_target="x86_64-linux-musl",
        ),
        Arch(
            name="aarch64",
            debian="arm64",
            alpine_sha256="041fa34a81788242df9e78fa69b97ab45b8ec47ddbf88864755610414a7bf3de",
            kernel_package="linux-image-cloud-arm64",
            kernel_arch="arm64",
            kernel_target="arch/arm64/boot/Image",
            kernel_magics=(((56, b"ARM\x64"),),),
            zig_target="aarch64-linux-musl",
        ),
    )
}


def find(name: str | None = None) -> Arch:
    """Return the architecture of that name; by default this machine's.

    :raise ImageError: there are no guests of that architecture.
    """
    name = name or os.uname().machine
    try:
        return ARCHES[name]
    except KeyError:
        raise ImageError(
            f"no guests of architecture {name}", hint=f"choose one of {', '.join(ARCHES)}"
        ) from None

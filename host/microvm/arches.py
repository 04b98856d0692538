"""The properties of guests that differ between processor architectures."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Literal, NamedTuple

from microvm.errors import UsageError

Bus = Literal["pci", "mmio"]
"""Bus that connects the guest's virtio devices. It is one that the guest's kernel supports."""

Accel = Literal["kvm", "hvf", "tcg"]
"""Accelerators of QEMU, by the names that QEMU uses."""

Magic = tuple[tuple[int, bytes], ...]
"""Form of a file: pairs of an offset and the bytes that the file must have at that offset."""


class Arch(NamedTuple):
    """A processor architecture of guests, and how QEMU, Debian and the kernel refer to it.

    :ivar name: Name that `uname -m`, QEMU and Alpine use.
    :ivar machine: Machine type of QEMU for each bus, for its option `-M`.
    :ivar cpu: CPU model of QEMU for each accelerator, for its option `-cpu`.
    :ivar kernel_options: Words that are added to the kernel's command line.
    :ivar alpine_sha256: SHA-256 of the pinned Alpine minirootfs archive, in hexadecimal.
    :ivar kernel_package: Debian package that depends on the newest kernel for clouds.
    :ivar kernel_target: Target of the kernel's Makefile that makes a file that QEMU can start.
        `vmlinux` is faster to start than a file that the guest has to decompress.
    :ivar kernel_magics: Forms of the kernel files that QEMU can start.
    """

    name: str
    debian: str
    qemu_package: str
    machine: Mapping[Bus, str]
    cpu: Mapping[Accel, str]
    console: str
    kernel_options: str
    alpine_sha256: str
    kernel_package: str
    kernel_arch: str
    kernel_target: str
    kernel_magics: tuple[Magic, ...]
    zig_target: str

    @property
    def qemu(self) -> str:
        """The name of the QEMU program for this architecture."""
        return f"qemu-system-{self.name}"

    @property
    def cross_prefix(self) -> str:
        """The beginning of the names of gcc's programs that compile for this architecture."""
        return f"{self.name}-linux-gnu-"

    @property
    def cross_packages(self) -> str:
        """Debian's packages of gcc and the C library that compile for this architecture."""
        gcc = f"gcc-{self.cross_prefix}".rstrip("-").replace("_", "-")
        return f"{gcc} libc6-dev-{self.debian}-cross"


ARCHES = {
    arch.name: arch
    for arch in (
        Arch(
            name="x86_64",
            debian="amd64",
            qemu_package="qemu-system-x86",
            machine={"pci": "microvm,pcie=on", "mmio": "microvm,acpi=off"},
            # Hide the CPU flags fsrm and erms from guests under TCG (emulation). A guest's kernel
            # that sees them copies memory by the instruction `rep movs`, which TCG emulates slowly,
            # byte by byte. Nested virtualization and performance counters are disabled, because
            # guests need neither.
            cpu={"tcg": "max,-fsrm,-erms", "kvm": "host,-svm,-vmx,pmu=off", "hvf": "host"},
            console="ttyS0",
            kernel_options="reboot=t tsc=reliable",
            alpine_sha256="d4e6fd67dcf75e40c451560ac7265166c2b72a0f38ddc9aae756a7de3d1efa0c",
            kernel_package="linux-image-cloud-amd64",
            kernel_arch="x86_64",
            kernel_target="vmlinux",
            kernel_magics=(
                ((0x1FE, b"\x55\xaa"), (0x202, b"HdrS")),  # bytes in the header of a bzImage
                # the bytes by which a vmlinux, an ELF file for this processor, is recognized
                ((0, b"\x7fELF\x02\x01"), (18, b"\x3e\x00")),
            ),
            zig_target="x86_64-linux-musl",
        ),
        Arch(
            name="aarch64",
            debian="arm64",
            qemu_package="qemu-system-arm",
            machine={"pci": "virt", "mmio": "virt"},
            # Select QEMU's own algorithm of pointer authentication, because QEMU emulates the
            # processor's default algorithm more slowly (see arm/cpu-features in QEMU's
            # documentation).
            cpu={"tcg": "max,pauth-impdef=on", "kvm": "host", "hvf": "host"},
            console="ttyAMA0",
            kernel_options="",
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
    """Return the architecture with this name, or without a name, the architecture of this host."""
    name = name or os.uname().machine
    try:
        return ARCHES[name]
    except KeyError:
        raise UsageError(
            f"guests of architecture {name!r} are not supported",
            hint=f"choose one of {', '.join(ARCHES)}",
        ) from None

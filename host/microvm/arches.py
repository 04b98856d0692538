"""The table of what differs between guest architectures."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Literal, NamedTuple

from microvm.errors import UsageError

Bus = Literal["pci", "mmio"]
"""Bus of the guest's virtio devices. The guest's kernel has a built-in driver for it."""

Accel = Literal["kvm", "hvf", "tcg"]
"""QEMU's accelerators, by QEMU's names."""

Magic = tuple[tuple[int, bytes], ...]
"""Offsets and the bytes that must stand there, all of them."""


class Arch(NamedTuple):
    """An architecture of guests.

    :ivar name: the name that `uname -m`, QEMU and Alpine have for it.
    :ivar debian: the name that Debian has for it.
    :ivar qemu_package: Debian's package of QEMU's program for it.
    :ivar machine: QEMU's machine type by bus, for `-M`.
    :ivar cpu: QEMU's CPU model by accelerator, for `-cpu`.
    :ivar console: the kernel's name of the serial port.
    :ivar kernel_options: further words of the kernel's command line.
    :ivar alpine_sha256: the digest of the pinned minirootfs archive, in hex.
    :ivar kernel_package: Debian's package that stands for the newest cloud kernel.
    :ivar kernel_arch: the name that the kernel's Makefile has for it.
    :ivar kernel_target: what that Makefile makes for QEMU of the target of the same name: a vmlinux
        is not decompressed first.
    :ivar kernel_magics: the forms of kernel that QEMU can start; one must match.
    :ivar zig_target: what `zig cc -target` takes.
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
        """The name of QEMU's program for the architecture."""
        return f"qemu-system-{self.name}"


ARCHES = {
    arch.name: arch
    for arch in (
        Arch(
            name="x86_64",
            debian="amd64",
            qemu_package="qemu-system-x86",
            machine={"pci": "microvm,pcie=on", "mmio": "microvm,acpi=off"},
            # With fsrm and erms the guest copies by `rep movs`, which TCG runs a byte at a time.
            # Guests have no use for virtual machines of their own, or for the host's counters.
            cpu={"tcg": "max,-fsrm,-erms", "kvm": "host,-svm,-vmx,pmu=off", "hvf": "host"},
            console="ttyS0",
            kernel_options="reboot=t tsc=reliable",
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
            qemu_package="qemu-system-arm",
            machine={"pci": "virt", "mmio": "virt"},
            # The architected pointer authentication is slow to emulate (QEMU, arm/cpu-features).
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
    """Return the architecture of that name; by default this machine's.

    :raises UsageError: there are no guests of that architecture.
    """
    name = name or os.uname().machine
    try:
        return ARCHES[name]
    except KeyError:
        raise UsageError(
            f"no guests of architecture {name!r}", hint=f"choose one of {', '.join(ARCHES)}"
        ) from None

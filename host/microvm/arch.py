"""What differs from one guest architecture to the next, in one table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from .errors import UsageError

#: Where the guest finds its virtio devices: what its kernel has a driver for, built in.
Bus = Literal["pci", "mmio"]

#: QEMU's accelerators, by QEMU's names.
Accel = Literal["kvm", "hvf", "tcg"]


@dataclass(frozen=True, slots=True)
class Arch:
    """How QEMU emulates one architecture.

    :ivar binary: QEMU's program.
    :ivar package: Debian's package of it.
    :ivar machine: the machine type by bus, for `-M`.
    :ivar cpu: the CPU model by accelerator, for `-cpu`.
    :ivar console: the kernel's name of the serial port.
    :ivar kernel: what else the kernel's command line needs here.
    """

    binary: str
    package: str
    machine: Mapping[Bus, str]
    cpu: Mapping[Accel, str]
    console: str
    kernel: str


_ARCHES: Mapping[str, Arch] = {
    "x86_64": Arch(
        binary="qemu-system-x86_64",
        package="qemu-system-x86",
        machine={"pci": "microvm,pcie=on", "mmio": "microvm,acpi=off"},
        # With fsrm and erms the guest copies by `rep movs`, which TCG runs a byte at a time.
        # Guests have no use for virtual machines of their own, or for the host's counters.
        cpu={"tcg": "max,-fsrm,-erms", "kvm": "host,-svm,-vmx,pmu=off", "hvf": "host"},
        console="ttyS0",
        kernel="reboot=t tsc=reliable",
    ),
    "aarch64": Arch(
        binary="qemu-system-aarch64",
        package="qemu-system-arm",
        machine={"pci": "virt", "mmio": "virt"},
        # The architected pointer authentication is slow to emulate (QEMU, arm/cpu-features).
        cpu={"tcg": "max,pauth-impdef=on", "kvm": "host", "hvf": "host"},
        console="ttyAMA0",
        kernel="",
    ),
}


def arch(name: str) -> Arch:
    """Look up an architecture by the name `uname -m` has for it.

    :raise UsageError: if it is not in the table.
    """
    try:
        return _ARCHES[name]
    except KeyError:
        known = ", ".join(_ARCHES)
        raise UsageError(f"unknown architecture {name!r}", hint=f"known: {known}") from None

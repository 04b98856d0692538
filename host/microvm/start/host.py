"""The properties of a host on which a guest under KVM depends, also after it was saved.

At the boot, the guest's kernel and its programs look up the features of the processor, and use them
from then on. So a host can restore the guest only if KVM offers the same features there. The
microcode, the release of the kernel and the parameters of KVM's modules need not be the same: as
far as a guest can see them, they change the features that KVM offers.
"""

from __future__ import annotations

import fcntl
import functools
import os
import struct
from collections.abc import Iterator
from contextlib import suppress
from typing import NamedTuple

from microvm.qemu import accel
from microvm.sha256 import sha256
from microvm.system import platform
from microvm.system.capacity import SHORTAGES

_IDENTITY = "cpu family,model,stepping,CPU implementer,CPU variant,CPU part,CPU revision".split(",")
_SHOWN = 8  # maximum number of features in a message

# Constants of KVM's interface, from <linux/kvm.h>.
_KVM_GET_SUPPORTED_CPUID = 0xC008AE05
_KVM_GET_MSRS = 0xC008AE88
_MAX_ENTRIES = 256
_HEADER = struct.Struct("=2I")
_ENTRY = struct.Struct("=7I12x")  # leaf, subleaf, flags, EAX, EBX, ECX, EDX
_MSR = struct.Struct("=4IQ")  # number of MSRs, padding, index, padding, value

# Registers (MSRs) with features that CPUID does not report: IA32_CORE_CAPABILITIES,
# IA32_ARCH_CAPABILITIES and DE_CFG of AMD.
_FEATURE_MSRS = (0xCF, 0x10A, 0xC0011029)
# Leaves of CPUID that guests do not get from KVM (performance counters, nested virtualization and
# encrypted memory are disabled), or that differ between the processors of one host (caches,
# topology), or whose values do not matter (name and frequency).
_IGNORED = {
    *(0x2, 0x4, 0xA, 0xB, 0x15, 0x16, 0x1A, 0x1F, 0x23),
    *range(0x80000002, 0x80000007),
    *(0x8000000A, 0x8000001D, 0x8000001E, 0x8000001F, 0x80000022, 0x80000026),
}
# Bits of EAX, EBX, ECX and EDX that are compared, for the leaves where not all are: number of the
# processor and VMX, size of the registers in use, SVM, number of processors.
_COMPARED = {
    0x1: (~0, 0, ~(1 << 5), ~0),
    0xD: (~0, 0, ~0, ~0),
    0x80000001: (~0, ~0, ~(1 << 2), ~0),
    0x80000008: (~0, ~0, 0, 0),
}


class HostDescription(NamedTuple):
    """A description of a host for messages; empty if guests do not depend on the host.

    :ivar processor: Name and version of the processor.
    :ivar features: Names of the processor's features, separated by spaces, as the kernel lists
        them.
    :ivar kernel: Release of the kernel.
    :ivar parameters: Parameters of KVM's modules, such as `kvm_amd.npt=Y`, separated by spaces.
    """

    processor: str = ""
    features: str = ""
    kernel: str = ""
    parameters: str = ""

    def difference(self, here: HostDescription) -> str:
        """Return how the host `here` differs from this one, to explain why KVM differs there."""
        found = []
        if self.processor != here.processor:
            found.append(f"the processor was {self.processor}, and is {here.processor}")
        then, now = set(self.features.split()), set(here.features.split())
        if lost := then - now:
            found.append(f"this processor lacks {_names(lost)}")
        if gained := now - then:
            found.append(f"only this processor has {_names(gained)}")
        if self.kernel != here.kernel:
            found.append(f"the kernel was {self.kernel}, and is {here.kernel}")
        if changed := set(self.parameters.split()) - set(here.parameters.split()):
            found.append(f"KVM's modules had {_names(changed)}")
        return "; ".join(found) or "for a reason that this host does not show"


def describe() -> HostDescription:
    """Return the description of this host."""
    facts = _first_processor()
    parameters = accel.kvm_parameters()
    identity = ", ".join(
        f"{name.removeprefix('cpu ').removeprefix('CPU ')} {facts[name]}"
        for name in _IDENTITY
        if name in facts
    )
    return HostDescription(
        processor=f"{facts.get('model name', platform.machine())} ({identity})",
        features=facts.get("flags") or facts.get("Features", ""),
        kernel=platform.kernel()[0],
        parameters=" ".join(f"{name}={value}" for name, value in parameters),
    )


def offered(host: HostDescription) -> str:
    """Return a digest of the features that KVM offers to guests here; "" if KVM cannot be used.

    KVM for Arm cannot list its features. On Arm, the features depend on the processor and the
    kernel. The kernel may change them in any release, so the digest contains these two instead.

    :raises OSError: This process lacks a resource, such as a free descriptor, so it is unknown what
        KVM offers.
    """
    try:
        device = os.open(accel.KVM, os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in SHORTAGES:
            raise
        return ""
    facts: object
    try:
        facts = [*_cpuid(device), *_msrs(device)]
    except OSError as error:
        if error.errno in SHORTAGES:
            raise
        facts = host.processor, host.features, host.kernel
    finally:
        os.close(device)
    return sha256(repr(facts).encode()).hexdigest()


def _cpuid(device: int) -> Iterator[tuple[int, ...]]:
    """Yield the leaf, subleaf and registers of each entry of CPUID that KVM offers to guests."""
    buffer = bytearray(_HEADER.size + _MAX_ENTRIES * _ENTRY.size)
    _HEADER.pack_into(buffer, 0, _MAX_ENTRIES, 0)
    fcntl.ioctl(device, _KVM_GET_SUPPORTED_CPUID, buffer)
    count, _ = _HEADER.unpack_from(buffer)
    for number in range(count):
        entry = _ENTRY.unpack_from(buffer, _HEADER.size + number * _ENTRY.size)
        leaf, subleaf, _, *registers = entry
        compared = _COMPARED.get(leaf, (~0,) * 4)
        values = [value & mask for value, mask in zip(registers, compared, strict=True)]
        if leaf not in _IGNORED and any(values):
            yield leaf, subleaf, *values


def _msrs(device: int) -> Iterator[tuple[int, ...]]:
    """Yield the index and value of each of `_FEATURE_MSRS` that KVM offers to guests."""
    for index in _FEATURE_MSRS:
        buffer = bytearray(_MSR.pack(1, 0, index, 0, 0))
        with suppress(OSError):  # a kernel before 4.17 does not know the request
            if fcntl.ioctl(device, _KVM_GET_MSRS, buffer) == 1:
                yield index, _MSR.unpack(buffer)[-1]


@functools.cache
def _first_processor() -> dict[str, str]:
    """Return the properties of this host's first processor, by the kernel's names for them."""
    first, _, _ = platform.proc("cpuinfo").partition("\n\n")
    pairs = (line.partition(":") for line in first.splitlines())
    return {name.strip(): value.strip() for name, _, value in pairs}


def _names(features: set[str]) -> str:
    shown = sorted(features)
    more = f" and {len(shown) - _SHOWN} more" if len(shown) > _SHOWN else ""
    return ", ".join(shown[:_SHOWN]) + more

"""Tests of the properties of a host on which a guest under KVM depends."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from microvm.qemu import accel
from microvm.start import host
from microvm.start.host import HostDescription, describe, offered
from microvm.system import platform

HERE = HostDescription(
    "EPYC (family 25, model 1)", "avx avx2 sse", "6.12.1", "kvm.a=N kvm_amd.npt=Y"
)
REGISTERS = (0x111111, 0x222222, 0x333333, 0x444444)
BASE = {(leaf, 0): REGISTERS for leaf in (0x1, 0x4, 0x7, 0xD, 0x80000001, 0x80000008)}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({}, "for a reason that this host does not show"),
        ({"parameters": "kvm.a=N kvm_amd.npt=N"}, "KVM's modules had kvm_amd.npt=Y"),
        ({"kernel": "6.18"}, "the kernel was 6.12.1, and is 6.18"),
        ({"features": "sse"}, "this processor lacks avx, avx2"),
        ({"features": "avx avx2 sse sse4a"}, "only this processor has sse4a"),
        (
            {"processor": "Xeon", "features": "avx sse vmx"},
            "the processor was EPYC (family 25, model 1), and is Xeon; this processor lacks avx2; "
            "only this processor has vmx",
        ),
    ],
)
def test_difference_names_what_has_changed(change: dict[str, str], says: str) -> None:
    assert HERE.difference(HERE._replace(**change)) == says


@pytest.mark.parametrize(
    ("cpuinfo", "processor", "features"),
    [
        (
            "processor\t: 0\ncpu family\t: 25\nmodel\t\t: 17\nmodel name\t: AMD EPYC\n"
            "stepping\t: 1\nflags\t\t: fpu sse\n\nprocessor\t: 1\n",
            "AMD EPYC (family 25, model 17, stepping 1)",
            "fpu sse",
        ),
        (
            "processor\t: 0\nFeatures\t: fp asimd\nCPU implementer\t: 0x41\nCPU variant\t: 0x3\n"
            "CPU part\t: 0xd0c\nCPU revision\t: 1\n\nprocessor\t: 1\n",
            "aarch64 (implementer 0x41, variant 0x3, part 0xd0c, revision 1)",
            "fp asimd",
        ),
    ],
    ids=["x86_64", "aarch64"],
)
def test_description_of_a_processor(
    monkeypatch: pytest.MonkeyPatch, cpuinfo: str, processor: str, features: str
) -> None:
    monkeypatch.setattr(platform, "proc", {"cpuinfo": cpuinfo}.__getitem__)
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    monkeypatch.setattr(accel, "kvm_parameters", lambda: [("kvm.a", "N"), ("kvm_amd.npt", "Y")])
    host._first_processor.cache_clear()
    found = describe()
    host._first_processor.cache_clear()
    assert found == (processor, features, os.uname().release, HERE.parameters)


def _offered(
    monkeypatch: pytest.MonkeyPatch, cpuid: Mapping[tuple[int, int], tuple[int, ...]], msr: int = 1
) -> str:
    """Return the digest for a KVM that offers these entries of CPUID, and this value of an MSR."""

    def ioctl(_: int, request: int, buffer: bytearray) -> int:
        if request == host._KVM_GET_MSRS:
            _, _, index, _, _ = host._MSR.unpack(buffer)
            host._MSR.pack_into(buffer, 0, 1, 0, index, 0, msr)
            return int(index == 0x10A)
        host._HEADER.pack_into(buffer, 0, len(cpuid), 0)
        for number, (entry, registers) in enumerate(cpuid.items()):
            where = host._HEADER.size + number * host._ENTRY.size
            host._ENTRY.pack_into(buffer, where, *entry, 0, *registers)
        return 0

    monkeypatch.setattr(accel, "KVM", Path(os.devnull))
    monkeypatch.setattr(fcntl, "ioctl", ioctl)
    return offered(HERE)


def test_only_features_that_guests_see_are_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    usual = _offered(monkeypatch, BASE)
    # the number of the processor, VMX, caches, sizes, SVM, and the number of processors
    for leaf, register, bits in (
        *((0x1, 1, 0xFF000000), (0x1, 2, 1 << 5), (0x4, 0, 1)),
        *((0xD, 1, 0xFF), (0x80000001, 2, 1 << 2), (0x80000008, 2, 0xFF)),
    ):
        values = [value ^ bits * (i == register) for i, value in enumerate(REGISTERS)]
        assert _offered(monkeypatch, {**BASE, (leaf, 0): tuple(values)}) == usual, hex(leaf)
    assert _offered(monkeypatch, {**BASE, (0x9, 0): (0, 0, 0, 0)}) == usual
    assert _offered(monkeypatch, {**BASE, (0x7, 0): (1, 2, 3, 4)}) != usual
    assert _offered(monkeypatch, {**BASE, (0x7, 1): (1, 0, 0, 0)}) != usual
    assert _offered(monkeypatch, BASE, msr=2) != usual


def test_host_without_a_list_of_features(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(accel, "KVM", tmp_path / "kvm")
    assert offered(HERE) == ""
    accel.KVM.touch()  # this file answers no request, like KVM for Arm
    assert offered(HERE) != offered(HERE._replace(kernel="6.18"))


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENOMEM])
def test_a_shortage_is_no_property_of_the_host(
    monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def fail(*_: object) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "ioctl", fail)
    monkeypatch.setattr(accel, "KVM", Path(os.devnull))
    with pytest.raises(OSError, match=os.strerror(number)):
        offered(HERE)
    monkeypatch.setattr(os, "open", fail)
    with pytest.raises(OSError, match=os.strerror(number)):
        offered(HERE)


def test_parameters_of_kvm_matter_only_by_its_features(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: object) -> int:
        raise OSError(errno.ENOTTY, "")

    monkeypatch.setattr(fcntl, "ioctl", fail)
    monkeypatch.setattr(accel, "KVM", Path(os.devnull))
    usual = offered(HERE)
    assert offered(HERE._replace(parameters="kvm.halt_poll_ns=0")) == usual
    assert offered(HERE._replace(kernel="6.18")) != usual

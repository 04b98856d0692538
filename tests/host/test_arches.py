"""Tests of the tables of architectures, buses and accelerators."""

from __future__ import annotations

from pathlib import Path

import pytest

from microvm import arches
from microvm.arches import ACCELERATORS, ARCHES, BUSES, Accel, Accelerator, Arch, Bus
from microvm.errors import UsageError
from microvm.qemu import accel as accels
from microvm.qemu.command_line import Inherited, QemuConfig, arguments
from microvm.system import platform

INHERITED = Inherited(qmp=10, port=11, console=12, kernel=13, initramfs=14, disk=15)

#: Fields whose value may be empty, because the architecture or accelerator needs none.
OPTIONAL = {
    "kvm_modules",
    "flash",
    "kernel_options",
    "clock_option",
    "system",
    "device",
    "emulates",
    "passes_clock",
}


def config(arch: str, bus: Bus, accel: Accel) -> QemuConfig:
    return QemuConfig(Path("k"), Path("i"), bus, accel, arch=arch, disk=Path("d"))


@pytest.mark.parametrize(
    "row", [*ARCHES.values(), *BUSES.values(), *ACCELERATORS.values()], ids=lambda row: row.name
)
def test_row_has_a_value_in_each_field(row: Arch | arches.BusDevices | Accelerator) -> None:
    empty = {name for name, value in row._asdict().items() if not value}
    assert empty <= OPTIONAL
    if isinstance(row, Arch):
        assert row.machine.keys() == row.no_timers.keys() == BUSES.keys()
        assert row.cpu.keys() == ACCELERATORS.keys()
    elif isinstance(row, Accelerator):
        assert row.serial.keys() == BUSES.keys()


@pytest.mark.parametrize("arch", ARCHES.values(), ids=ARCHES)
def test_host_is_found_by_its_name_on_linux_and_on_macos(
    arch: Arch, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in (arch.name, arch.debian):
        monkeypatch.setattr(platform, "machine", lambda name=name: name)
        assert arches.find() is arch


def test_host_without_guests_is_refused_by_its_own_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "riscv64")
    assert arches.native() == "riscv64"
    with pytest.raises(UsageError, match=r"'riscv64' are not supported \(choose one of x86_64, "):
        arches.find()


@pytest.mark.parametrize(
    ("system", "tried"),
    [("linux", ("kvm", "tcg")), ("darwin", ("hvf", "tcg")), ("freebsd14", ("tcg",))],
)
def test_each_system_tries_its_accelerator_first(
    system: str, tried: tuple[Accel, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(platform, "system", lambda: system)
    monkeypatch.setattr(accels, "_kvm_obstacle", lambda: None)
    (tmp_path / "qemu").touch()
    probes = accels.ProbeCache(tmp_path, tmp_path / "qemu")
    found = accels.candidates("auto", arch=arches.native(), probes=probes)
    assert found == tried


@pytest.mark.parametrize("arch", ARCHES)
@pytest.mark.parametrize("bus", BUSES)
def test_arguments_of_qemu_on_macos(arch: str, bus: Bus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "system", lambda: "darwin")
    command = arguments(config(arch, bus, "hvf"), INHERITED, tsc_khz=None)
    machine = {
        ("x86_64", "pci"): "microvm,pcie=on",
        ("x86_64", "mmio"): "microvm,acpi=off",
        ("aarch64", "pci"): "virt",
        ("aarch64", "mmio"): "virt",
    }[arch, bus]
    at = command.index("-M")
    assert command[at : at + 6] == [
        *("-M", f"{machine},memory-backend=ram,mem-merge=off", "-cpu", "host", "-accel", "hvf")
    ]
    assert "-sandbox" not in command  # only a QEMU for Linux has this option

"""Tests of the command line of QEMU, without QEMU."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from microvm.arches import Accel
from microvm.qemu.command_line import Inherited, QemuConfig, arguments
from microvm.qemu.launch import _group_of

CONFIG = QemuConfig(Path("k"), Path("i"), "pci", "tcg", "x86_64", memory=512, cpus=2)
INHERITED = Inherited(qmp=10, port=11, console=12, kernel=13, initramfs=14)


def option(command: list[str], name: str) -> str:
    return command[command.index(name) + 1]


def test_all_arguments_of_qemu() -> None:
    assert arguments(CONFIG, INHERITED, tsc_khz=2_500_000) == [
        *("-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-S"),
        "-sandbox",
        "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny",
        *("-M", "microvm,pcie=on,pit=off,memory-backend=ram,mem-merge=off"),
        *("-cpu", "max,-fsrm,-erms", "-accel", "tcg"),
        *("-m", "512", "-smp", "2", "-object", "memory-backend-ram,id=ram,size=512M"),
        *("-kernel", "/dev/fd/13", "-initrd", "/dev/fd/14"),
        "-append",
        "console=ttyS0 quiet panic=-1 reboot=t tsc=reliable tsc_early_khz=2500000",
        *("-chardev", "socket,id=qmp,fd=10", "-mon", "chardev=qmp,mode=control"),
        *("-chardev", "socket,id=console,fd=12", "-serial", "chardev:console"),
        *("-chardev", "socket,id=port,fd=11"),
        *("-device", "virtio-serial-pci,max_ports=2,ioeventfd=off"),
        *("-device", "virtserialport,chardev=port,name=microvm.sandboxd.0"),
    ]


def test_arguments_of_qemu_with_mmio() -> None:
    command = arguments(CONFIG._replace(bus="mmio"), INHERITED, tsc_khz=None)
    assert option(command, "-M") == "microvm,acpi=off,memory-backend=ram,mem-merge=off"
    assert "virtio-serial-device,max_ports=2" in command


def test_arguments_of_qemu_on_aarch64() -> None:
    command = arguments(CONFIG._replace(arch="aarch64"), INHERITED, tsc_khz=2_500_000)
    assert option(command, "-M") == "virt,memory-backend=ram,mem-merge=off"
    assert option(command, "-cpu") == "max,pauth-impdef=on"
    assert option(command, "-append") == "console=ttyAMA0 quiet panic=-1"


@pytest.mark.parametrize(("accel", "khz"), [("tcg", None), ("kvm", 2_500_000)])
def test_timer_exists_for_a_kernel_that_measures_its_clock(accel: Accel, khz: int | None) -> None:
    command = arguments(CONFIG._replace(accel=accel), INHERITED, tsc_khz=khz)
    assert "pit=off" not in option(command, "-M")


def test_kvm_device_is_inherited() -> None:
    inherited = INHERITED._replace(kvm=15)
    command = arguments(CONFIG._replace(accel="kvm"), inherited, tsc_khz=None)
    assert option(command, "-add-fd") == "fd=15,set=1"
    assert option(command, "-accel") == "kvm,device=/dev/fdset/1"
    assert option(command, "-cpu") == "host,-svm,-vmx,pmu=off"
    assert inherited.all() == (10, 11, 12, 13, 14, 15)
    assert INHERITED.all() == (10, 11, 12, 13, 14)


def test_disks_are_descriptors_named_in_the_kernel_arguments() -> None:
    config = CONFIG._replace(disk=Path("d"), scratch=64 << 20)
    inherited = INHERITED._replace(disk=15, scratch=16)
    command = arguments(config, inherited, tsc_khz=None)
    first = command.index("-add-fd")
    assert command[first : first + 12] == [
        *("-add-fd", "fd=15,set=2"),
        "-blockdev",
        "driver=file,node-name=disk,filename=/dev/fdset/2,locking=off,read-only=on",
        *("-device", "virtio-blk-pci,drive=disk"),
        *("-add-fd", "fd=16,set=3"),
        "-blockdev",
        "driver=file,node-name=scratch,filename=/dev/fdset/3,locking=off,"
        "discard=unmap,cache.no-flush=on",
        *("-device", "virtio-blk-pci,drive=scratch,werror=stop"),
    ]
    assert option(command, "-append").split()[-2:] == ["disk", "scratch"]
    assert inherited.all() == (10, 11, 12, 13, 14, 15, 16)
    mmio = arguments(config._replace(bus="mmio"), inherited, tsc_khz=None)
    assert "virtio-blk-device,drive=disk" in mmio


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
@pytest.mark.parametrize(
    ("group", "mode", "used"),
    [(104, 0o660, 104), (104, 0o640, None), (104, 0o606, None), (0, 0o660, None)],
)
def test_launcher_gets_the_group_of_the_device(
    tmp_path: Path, group: int, mode: int, used: int | None
) -> None:
    device = tmp_path / "kvm"
    device.touch()
    os.chown(device, 0, group)
    device.chmod(mode)
    assert _group_of(device) == used
    assert _group_of(tmp_path / "missing") is None

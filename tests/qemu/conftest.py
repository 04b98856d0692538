"""Fixtures of real QEMU with guests of a few instructions, which need no kernel and no image."""

from __future__ import annotations

import os
import shutil
import struct
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.support.parameters import accelerator
from tests.support.processes import children, open_files

from microvm.qemu.command_line import QemuConfig
from microvm.qemu.console import Console
from microvm.qemu.launch import launch
from microvm.qemu.process import Qemu

LOAD = 0x100000

HALT = b"\xfa\xf4\xeb\xfd"  # cli; hlt; jmp to the hlt
TRIPLE_FAULT = b"\x0f\x01\x1d" + struct.pack("<I", 0x200000) + b"\xcc"  # lidt of zeroes; int3
POWER_OFF = b"\xc6\x05" + struct.pack("<IB", 0xFEA00200, 0x34) + HALT  # S5 through microvm's GED


def serial(text: bytes) -> bytes:
    """Return code that writes to the serial port: mov dx, 0x3f8; mov al, …; out dx, al."""
    return b"".join(b"\x66\xba\xf8\x03\xb0" + bytes([byte]) + b"\xee" for byte in text)


def pvh_kernel(code: bytes) -> bytes:
    """Return an ELF file with the PVH note, which tells QEMU the 32-bit entry point."""
    note = struct.pack("<III4sI", 4, 4, 18, b"Xen\0", LOAD)
    header = b"\x7fELF\1\1\1".ljust(16, b"\0")
    header += struct.pack("<HHIIIIIHHHHHH", 2, 3, 1, LOAD, 52, 0, 0, 52, 32, 2, 0, 0, 0)
    header += struct.pack("<8I", 1, 0x1000, LOAD, LOAD, len(code), len(code), 7, 0x1000)
    header += struct.pack("<8I", 4, 52 + 64, 0, 0, len(note), len(note), 4, 4)
    return (header + note).ljust(0x1000, b"\0") + code


GUESTS = {
    "halts": serial(b"hello from the guest\n") + HALT,
    "resets": TRIPLE_FAULT,
    "powers off": POWER_OFF,
    "panics": serial(b"[    0.1] Kernel panic - not syncing: no init\r\n") + TRIPLE_FAULT,
}

Configure = Callable[..., QemuConfig]


@pytest.fixture(scope="session", autouse=True)
def _qemu() -> None:
    if shutil.which("qemu-system-x86_64") is None:
        pytest.skip("qemu-system-x86_64 is not installed")


@pytest.fixture
def configure(tmp_path: Path) -> Configure:
    """A function that returns a configuration with a guest of `GUESTS` and other options."""

    def configure(guest: str = "halts", **overrides: Any) -> QemuConfig:
        kernel, initramfs = tmp_path / "kernel", tmp_path / "initramfs"
        kernel.write_bytes(pvh_kernel(GUESTS[guest]))
        initramfs.write_bytes(b"")
        usual = QemuConfig(kernel, initramfs, "pci", accelerator(), "x86_64", memory=64)
        return usual._replace(**overrides)

    return configure


@asynccontextmanager
async def running(config: QemuConfig) -> AsyncIterator[Qemu]:
    """Run a guest, whose console is not read."""
    with Console() as console:
        async with await Qemu.start(launch(config), console=console) as qemu:
            yield qemu


async def start(config: QemuConfig) -> None:
    async with running(config):
        pass


@pytest.fixture
def _leakless() -> Iterator[None]:
    """Check that the test leaves no descriptor and no child process."""
    files, processes = open_files(), set(children(os.getpid()))
    yield
    # Garbage of an earlier test may have been collected meanwhile, so fewer descriptors are fine.
    assert open_files().items() <= files.items()
    assert set(children(os.getpid())) <= processes

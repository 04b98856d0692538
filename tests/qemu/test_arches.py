"""Tests that QEMU accepts the values of each row in the tables of `microvm.arches`."""

from __future__ import annotations

import shutil

import pytest
from tests.support.captured import captured

from microvm.arches import ACCELERATORS, ARCHES, BUSES, Accel, Bus
from microvm.errors import QemuError
from microvm.qemu.accel import obstacle

from .conftest import Configure, running

LOOP = (0x14000000).to_bytes(4, "little")  # the instruction `b .` of aarch64


@pytest.mark.parametrize("arch", ARCHES)
@pytest.mark.parametrize("bus", BUSES)
@pytest.mark.parametrize("accel", ACCELERATORS)
async def test_qemu_starts_a_guest_with_each_bus_and_accelerator(
    configure: Configure, arch: str, bus: Bus, accel: Accel
) -> None:
    program = ARCHES[arch].qemu
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not installed")
    if accel not in captured([program, "-accel", "help"]).stdout.split():
        pytest.skip(f"this {program} lacks {accel}")
    if not ACCELERATORS[accel].emulates and (found := obstacle(arch)):
        pytest.skip(found.why)
    config = configure(arch=arch, bus=bus, accel=accel)
    if arch != "x86_64":
        config.kernel.write_bytes(LOOP)
    try:
        async with running(config) as qemu:
            assert qemu.pid
    except QemuError as error:
        # On some hosts, KVM exists, but crashes QEMU. An argument that QEMU refuses is an `exit`.
        if ACCELERATORS[accel].emulates or not error.qemu_exit or error.qemu_exit.kind != "crash":
            raise
        pytest.skip(f"{accel} does not work here: {error.message}")

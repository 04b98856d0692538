"""Tests that QEMU never outlives its controller, even if that is killed at any moment."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from tests.qemu.conftest import Configure
from tests.support.polling import eventually

from microvm.qemu.command_line import QemuConfig

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="PR_SET_PDEATHSIG is Linux's")

CONTROLLER = """
import asyncio, sys
from pathlib import Path
from microvm.qemu.console import Console
from microvm.qemu.launch import launch
from microvm.qemu.process import Qemu
from microvm.qemu.command_line import QemuConfig

async def main():
    kernel, initramfs = map(Path, sys.argv[1:3])
    accel = sys.argv[3]
    config = QemuConfig(kernel, initramfs, "pci", accel, "x86_64", memory=64)
    print("launching", flush=True)
    with Console() as console:
        async with await Qemu.start(launch(config), console=console) as qemu:
            print("running", flush=True)
            await qemu.wait()

asyncio.run(main())
"""


def holders(path: Path) -> list[int]:
    """Return the processes that have a file open, which shows the stage of a launch."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if any(link.samefile(path) for link in (process / "fd").iterdir()):
                found.append(int(process.name))
        except OSError:  # it has exited, or belongs to another user
            continue
    return found


def controller(config: QemuConfig, until: str) -> subprocess.Popen[str]:
    command = [
        *(sys.executable, "-c", CONTROLLER),
        *(str(config.kernel), str(config.initramfs), config.accel),
    ]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    for line in process.stdout:
        if line.strip() == until:
            break
    return process


def test_controller_killed_while_running(configure: Configure) -> None:
    config = configure()
    with controller(config, until="running") as process:
        assert len(holders(config.kernel)) == 1
        process.kill()
    eventually(lambda: not holders(config.kernel))

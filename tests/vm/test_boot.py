"""Tests of the messages on the guest's console when a part of its boot fails."""

from __future__ import annotations

import errno
import io
from pathlib import Path

import pytest
from tests.support.changed_image import changed_image
from tests.support.parameters import accelerator
from tests.support.target import build
from tests.vm.conftest import Misbehave

from microvm import MicroVM, cpio
from microvm.cpio import CpioEntry
from microvm.images import INITRAMFS, Image
from microvm.options import MachineOptions

pytestmark = pytest.mark.thorough

NO_LIMIT_OF_PROCESSES = """
for word; do
    shift
    case "$word" in console=*) word="$word cgroup_disable=pids" ;; esac
    set -- "$@" "$word"
done
"""
"""Script that adds an option to the command line of the kernel."""


@pytest.fixture
def damaged(image: Image, tmp_path: Path) -> Path:
    """An image with a file in place of a folder, and with an invalid kernel module."""
    second = io.BytesIO()  # the kernel unpacks several archives in sequence
    files = [CpioEntry.file(name, b"nothing") for name in ("run", "lib/modules/0.ko")]
    cpio.write([CpioEntry.folder("lib/modules"), *files], second)
    archive = image.initramfs.read_bytes() + second.getvalue()
    return changed_image(image, tmp_path / "damaged", {INITRAMFS: archive}).path


def said(console: Path) -> list[str]:
    """Return the lines that the programs of the guest wrote to the console, in order."""
    lines = console.read_text(errors="replace").splitlines()
    return [line for line in lines if line.startswith(("init: ", "sandboxd: "))]


async def test_a_failed_part_of_the_boot_is_reported_once(
    image: Image, damaged: Path, misbehave: Misbehave, tmp_path: Path
) -> None:
    misbehave(NO_LIMIT_OF_PROCESSES)
    console = tmp_path / "console"
    options = MachineOptions(cold=True, accel=accelerator(), confinement="off", console=console)
    async with MicroVM(damaged, **options) as vm:
        assert (await vm.run(["echo", "hello"])).stdout == b"hello\n"
        await vm.run(["true"])
    modules = errno.ENOSYS if image.manifest.bus == "mmio" else errno.ENOEXEC
    assert said(console) == [
        f"init: load /lib/modules/0.ko: errno {modules}",
        f"init: cover /: errno {errno.ENOTDIR}",
        f"init: mount /run: errno {errno.ENOTDIR}",
        f"init: cover boot_id: errno {errno.ENOTDIR}",
        f"init: mount /run/microvm/proc: errno {errno.ENOTDIR}",
        f"sandboxd: use pids.max: errno {errno.ENOENT}",
    ]


async def test_a_complete_boot_reports_nothing(image: Image, tmp_path: Path) -> None:
    console = tmp_path / "console"
    async with MicroVM(image, cold=True, console=console) as vm:
        await vm.run(["true"])
    assert said(console) == []


@pytest.mark.long
async def test_a_boot_of_the_distributions_kernel_reports_nothing(tmp_path: Path) -> None:
    image = build(kernel="debian", output=tmp_path / "image")
    await test_a_complete_boot_reports_nothing(image, tmp_path)

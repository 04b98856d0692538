"""Tests of the confinement that a guest meets after an escape from QEMU."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path

import pytest
from tests.qemu.conftest import Configure, running
from tests.support.parameters import accelerator
from tests.support.processes import open_files, status

from microvm.qemu.accel import KVM
from microvm.qemu.command_line import QemuConfig
from microvm.qemu.confinement import UIDS

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="/proc and seccomp are Linux's")


@pytest.fixture
def _closed_folder(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)


async def inspected(config: QemuConfig) -> tuple[dict[str, str], bytes, list[os.stat_result]]:
    """Return the status, the environment and the open disk files of QEMU.

    The files are on mounts of QEMU's own, so no path leads to them.
    """
    async with running(config) as qemu:
        process = Path("/proc") / str(qemu.pid)
        environ = (process / "environ").read_bytes()
        opened = [(process / "fd" / str(number)).stat() for number in open_files(qemu.pid)]
        files = [file for file in opened if stat.S_ISREG(file.st_mode) and file.st_nlink]
        return status(qemu.pid), environ, files


async def test_qemu_cannot_gain_privileges(configure: Configure) -> None:
    said, _, _ = await inspected(configure())
    assert said["NoNewPrivs"] == "1"
    assert said["Seccomp"] == "2"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has privileges to give up")
async def test_qemu_of_root_has_its_own_ids_and_no_capabilities(configure: Configure) -> None:
    said, _, _ = await inspected(configure())
    own = str(UIDS + int(said["Pid"]))
    assert said["Uid"].split() == [own] * 4
    assert said["Gid"].split() == [own] * 4
    # QEMU keeps the group of KVM's device, without which it may not open the device.
    groups = [str(KVM.stat().st_gid)] if accelerator() == "kvm" else []
    assert said["Groups"].split() == groups
    assert {said[f"Cap{name}"] for name in ("Inh", "Prm", "Eff", "Bnd", "Amb")} == {"0" * 16}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root's QEMU is another user")
@pytest.mark.usefixtures("_closed_folder")
async def test_kernel_in_a_private_folder_can_be_used(configure: Configure) -> None:
    await inspected(configure())


async def test_qemu_gets_no_secret_variables(
    configure: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOKEN", "a secret")
    _, environment, _ = await inspected(configure())
    assert environment.startswith(b"PATH=")
    assert b"secret" not in environment


async def test_qemu_inherits_only_intended_files(configure: Configure, tmp_path: Path) -> None:
    config = configure()
    with (tmp_path / "private").open("wb"):
        _, _, files = await inspected(config)
    handed = [path.stat() for path in (config.kernel, config.initramfs)]
    assert {file.st_ino for file in files} == {file.st_ino for file in handed}

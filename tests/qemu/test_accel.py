"""Tests of the choice of an accelerator, of its cache, and of the KVM of this host."""

from __future__ import annotations

import asyncio
import grp
import os
import platform
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.qemu.conftest import Configure
from tests.support.busy_device import busy_device
from tests.support.ordinary import acting_as_user
from tests.support.process_settings import umask

from microvm import cache
from microvm.errors import QemuError, QemuExit
from microvm.qemu import accel, kvm_failure
from microvm.qemu.accel import BOOT_TIMEOUT, ProbeCache, candidates
from microvm.qemu.command_line import QemuConfig
from microvm.qemu.console import Console
from microvm.qemu.launch import find_qemu, launch
from microvm.qemu.process import Qemu
from microvm.start.accelerator import AcceleratorChoice

NATIVE = platform.machine()
DAY = 24 * 3600.0
SEGFAULT = "QEMU was killed by signal 11 (SIGSEGV)"


@pytest.fixture
def probes(tmp_path: Path) -> ProbeCache:
    binary = tmp_path / "qemu"
    binary.write_bytes(b"")
    return ProbeCache(tmp_path / "cache", binary)


@pytest.fixture
def _promising_kvm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accel, "obstacle", lambda _: None)


@pytest.mark.usefixtures("_promising_kvm")
def test_auto_uses_the_probe_result(probes: ProbeCache) -> None:
    probes.remember(works=True)
    assert candidates("auto", arch=NATIVE, probes=probes) == ("kvm",)
    probes.remember(works=False)
    assert candidates("auto", arch=NATIVE, probes=probes) == ("tcg",)
    assert candidates("kvm", arch=NATIVE, probes=probes) == ("kvm",)


@pytest.mark.parametrize("name", ["missing", "plain file"])
def test_kvm_device_that_is_missing_or_no_device(
    probes: ProbeCache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    (tmp_path / "plain file").write_bytes(b"")
    monkeypatch.setattr(accel, "KVM", tmp_path / name)
    assert candidates("auto", arch=NATIVE, probes=probes) == ("tcg",)
    with pytest.raises(QemuError, match=f"KVM cannot be used: .*{name}.*--accel tcg"):
        candidates("kvm", arch=NATIVE, probes=probes)


def test_foreign_architecture_needs_tcg(probes: ProbeCache) -> None:
    assert candidates("auto", arch="vax", probes=probes) == ("tcg",)
    with pytest.raises(QemuError, match="the guest vax"):
        candidates("kvm", arch="vax", probes=probes)


def aged(seconds: float) -> Callable[[ProbeCache], None]:
    return lambda probes: os.utime(probes.path, (time.time() - seconds,) * 2)


def written(text: bytes) -> Callable[[ProbeCache], object]:
    return lambda probes: probes.path.write_bytes(text)


@pytest.mark.parametrize(
    ("change", "lifetime", "expected"),
    [
        pytest.param(lambda probes: os.utime(probes.binary, (1, 1)), DAY, None, id="new build"),
        pytest.param(written(b"\xff"), DAY, None, id="damaged"),
        pytest.param(written(b"broken"), DAY, None, id="no lifetime"),
        pytest.param(written(b"broken for ever"), DAY, None, id="lifetime in words"),
        pytest.param(written(b"broken nan"), DAY, None, id="lifetime nan"),
        pytest.param(written(b"broken inf"), DAY, False, id="lifetime inf"),
        pytest.param(aged(DAY + 3600), DAY, None, id="after a day"),
        pytest.param(aged(-3600), DAY, None, id="from the future"),
        pytest.param(aged(3500), 3600, False, id="before its lifetime ends"),
        pytest.param(aged(3700), 3600, None, id="after its lifetime"),
    ],
)
def test_probe_result_holds_for_its_build_and_lifetime(
    probes: ProbeCache,
    change: Callable[[ProbeCache], object],
    lifetime: float,
    expected: bool | None,
) -> None:
    probes.remember(works=True, lifetime=lifetime)
    probes.remember(works=False, lifetime=lifetime)
    assert probes.recall() is False
    assert list(probes.folder.iterdir()) == [probes.path]
    change(probes)
    assert probes.recall() is expected


def test_probe_result_in_a_fifo_or_behind_a_link_is_ignored(
    probes: ProbeCache, tmp_path: Path
) -> None:
    victim = tmp_path / "victim"
    victim.write_text("works")
    probes.folder.mkdir()
    os.mkfifo(probes.path)
    probes.remember(works=True)
    assert probes.recall() is None
    probes.path.unlink()
    probes.path.symlink_to(victim)
    probes.remember(works=False)
    assert probes.recall() is None
    assert victim.read_text() == "works"


def test_probe_results_are_private(probes: ProbeCache, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MICROVM_CACHE", str(probes.folder))
    with umask(0):
        probes.remember(works=True)
    assert cache.root() == probes.folder
    assert probes.path.stat().st_mode & 0o777 == 0o600


def test_probe_result_depends_on_parameters_of_kvm(
    probes: ProbeCache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(npt: str) -> None:
        settings = tmp_path / "kvm_amd" / "parameters"
        shutil.rmtree(settings, ignore_errors=True)
        settings.mkdir(parents=True)
        (settings / "npt").write_text(f"{npt}\n")

    monkeypatch.setattr(accel, "_MODULES", tmp_path)
    load("0")
    probes.remember(works=False)
    load("1")
    assert probes.recall() is None
    load("0")
    assert probes.recall() is False


def test_kvm_device_in_use_by_another_hypervisor(
    probes: ProbeCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    with busy_device() as device, acting_as_user():
        monkeypatch.setattr(accel, "KVM", device)
        found = accel.obstacle(NATIVE)
        assert candidates("auto", arch=NATIVE, probes=probes) == ("tcg",)
        with pytest.raises(QemuError, match="busy"):
            candidates("kvm", arch=NATIVE, probes=probes)
    assert found is not None
    assert found.failure is kvm_failure.BUSY


@pytest.mark.parametrize("mode", [0o060, 0o600])
def test_kvm_device_without_permission(
    probes: ProbeCache, monkeypatch: pytest.MonkeyPatch, mode: int
) -> None:
    folder = Path(tempfile.mkdtemp(prefix="microvm-test-"))
    device = folder / "kvm"
    device.touch()
    group = grp.getgrall()[-1] if os.geteuid() == 0 else grp.getgrgid(os.getegid())
    os.chown(device, -1, group.gr_gid)
    folder.chmod(0o755)
    device.chmod(mode if os.geteuid() == 0 else mode & 0o060)
    monkeypatch.setattr(accel, "KVM", device)
    with acting_as_user():
        assert candidates("auto", arch=NATIVE, probes=probes) == ("tcg",)
        found = accel.obstacle(NATIVE)
        with pytest.raises(QemuError) as caught:
            candidates("kvm", arch=NATIVE, probes=probes)
    shutil.rmtree(folder)
    assert found is not None
    assert found.failure is kvm_failure.FORBIDDEN
    assert found.text == f"you have no permission to use KVM ({device}: Permission denied)"
    assert caught.value.hint == found.hint
    if mode == 0o060:
        assert found.command.startswith(f"sudo usermod -aG {group.gr_name} ")
        assert f"`{found.command}`" in found.hint
    else:
        assert f"only root may use {device}" in found.hint
        assert f"sudo chgrp kvm {device} && sudo chmod 660 {device} && " in found.command


@pytest.mark.usefixtures("_promising_kvm")
@pytest.mark.parametrize(
    ("reason", "shown"),
    [
        (f"{SEGFAULT}: target/i386/kvm/kvm.c:3877: Assertion `{'a' * 99}' failed.", SEGFAULT),
        (f"{SEGFAULT}: no memory", f"{SEGFAULT}: no memory"),
    ],
)
def test_notice_does_not_contain_long_messages_of_qemu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reason: str, shown: str
) -> None:
    monkeypatch.setenv("MICROVM_CACHE", str(tmp_path))
    told: list[str] = []
    error = QemuError(reason)
    error.qemu_exit = QemuExit("crash", reason, -11)
    AcceleratorChoice("auto", NATIVE, told.append).succeeded("tcg", error)
    why = "using TCG, which is slower (`microvm doctor` shows why)"
    assert told == [f"KVM refuses to run a machine ({shown}); {why}"]


async def failure_to_speak(config: QemuConfig) -> QemuError | None:
    with Console() as console:
        try:
            async with await Qemu.start(launch(config), console=console):
                for _ in range(1000):
                    if "hello from the guest" in console.tail():
                        return None
                    await asyncio.sleep(0.01)
                pytest.skip("this KVM runs guests into nothing: only a deadline tells")
        except QemuError as error:
            return error


async def test_kvm_works_or_reports_a_failure(configure: Configure, tmp_path: Path) -> None:
    """With any /dev/kvm, intact or broken, the result is a guest, or a reason within seconds."""
    probes = ProbeCache(tmp_path, find_qemu("x86_64"))
    if candidates("auto", arch="x86_64", probes=probes) != ("kvm", "tcg"):
        pytest.skip("there is no KVM here to try")
    async with asyncio.timeout(BOOT_TIMEOUT):
        failure = await failure_to_speak(configure(accel="kvm"))
    if failure is not None:
        assert kvm_failure.failure_of_start(failure) is not kvm_failure.DISTURBED
        assert failure.message

"""Tests of failures of KVM, which a replacement of QEMU simulates with TCG on any host."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from click.testing import CliRunner
from tests.support import failing_kvm
from tests.vm.conftest import Misbehave

from microvm import MicroVM
from microvm.cache import async_lock, lock
from microvm.cli.checks import kvm as check
from microvm.cli.checks.check import EarlierResults
from microvm.cli.verbs.doctor import doctor
from microvm.errors import BootError, QemuError
from microvm.images import Image
from microvm.qemu import accel, kvm_failure, launch
from microvm.qemu.accel import ProbeCache
from microvm.qemu.kvm_failure import INTERNAL_ERROR, REFUSED, KvmFailure
from microvm.qemu.launch import find_qemu

pytestmark = pytest.mark.thorough

FAILURES = {
    "refused": kvm_failure.REFUSED,
    "no accelerator": kvm_failure.REFUSED,
    "busy": kvm_failure.BUSY,
    "internal error": kvm_failure.INTERNAL_ERROR,
    "died": kvm_failure.DIED,
    "silent": kvm_failure.SILENT,
}
every_way = pytest.mark.parametrize("way", FAILURES)


@pytest.fixture
def folder(
    image: Image, cache: Path, misbehave: Misbehave, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """Return the folder of the replacement of QEMU; the host seems to have KVM."""
    monkeypatch.setattr(accel, "obstacle", lambda _: None)
    monkeypatch.setattr(launch, "KVM", Path(os.devnull))
    monkeypatch.setattr(accel, "TRIAL_TIMEOUT", 5.0)
    monkeypatch.setenv("MICROVM_IMAGE", str(image.path))
    # a confined QEMU could not execute the replacement
    monkeypatch.setenv("MICROVM_CONFINEMENT", "off")
    return misbehave("")


@pytest.fixture
def probes(folder: Path, cache: Path, image: Image) -> ProbeCache:
    return ProbeCache(cache, find_qemu(image.manifest.arch))


def _machine(image: Image, told: list[str], requested: str = "auto", cold: bool = True) -> MicroVM:
    options = {"accel": requested, "confinement": "off", "cold": cold, "notify": told.append}
    return MicroVM(image, **options)  # type: ignore[arg-type]


def _beginning(failure: KvmFailure) -> str:
    return failure.message.partition("{")[0]


def test_every_failure_of_a_guest_is_simulated() -> None:
    # signals simulate it, in test_accelerator.py
    simulated = {*FAILURES.values(), kvm_failure.DISTURBED}
    assert {each for each in kvm_failure.FAILURES if each.exits or each.remembered} <= simulated
    assert FAILURES.keys() == failing_kvm.WAYS.keys()


@every_way
async def test_auto_uses_tcg_and_remembers(
    image: Image,
    folder: Path,
    probes: ProbeCache,
    misbehave: Misbehave,
    monkeypatch: pytest.MonkeyPatch,
    way: str,
) -> None:
    # The kernel boots emulated here, so it takes longer to fail than under KVM.
    monkeypatch.setattr(accel, "TRIAL_TIMEOUT", 0.5 if way == "silent" else 60.0)
    misbehave(failing_kvm.script(folder, way))
    told: list[str] = []
    async with _machine(image, told) as vm:
        assert vm.accel == "tcg"
    (line,) = told
    failure = FAILURES[way]
    assert line.startswith(_beginning(failure))
    assert "using TCG" in line
    assert probes.recall() is (False if failure.remembered else None)
    if failure.remembered:
        assert probes.path.read_text() == f"broken {failure.remembered:.0f}\n"


@every_way
async def test_kvm_on_request_is_an_error(
    image: Image, folder: Path, misbehave: Misbehave, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    if way == "silent":
        monkeypatch.setattr(accel, "BOOT_TIMEOUT", 0.5)
    misbehave(failing_kvm.script(folder, way))
    with pytest.raises((QemuError, BootError)) as caught:
        async with _machine(image, [], "kvm"):
            pass
    error = caught.value
    assert isinstance(error, QemuError | BootError)
    assert kvm_failure.failure_of_start(error) is FAILURES[way]
    assert "--accel tcg" in error.hint or FAILURES[way] not in (REFUSED, INTERNAL_ERROR)


def test_failure_on_request_does_not_let_auto_try_kvm_again(
    image: Image, folder: Path, probes: ProbeCache, misbehave: Misbehave
) -> None:
    """Else the advice to run `--accel kvm`, and each `microvm doctor`, would cost another trial."""
    probes.remember(works=False)
    misbehave(failing_kvm.script(folder, "refused"))
    assert check.check_kvm(EarlierResults()).status == "note"
    assert failing_kvm.tries(folder) == 1
    assert probes.recall() is False


async def test_a_start_tries_kvm_once_after_an_internal_error(
    image: Image, folder: Path, misbehave: Misbehave
) -> None:
    """After the boot of a template has failed, no other boot tries KVM."""
    misbehave(failing_kvm.script(folder, "internal error"))
    async with _machine(image, [], cold=False) as vm:
        assert (vm.accel, vm.cloned) == ("tcg", True)
    assert failing_kvm.tries(folder) == 1


async def test_hanging_trial_of_kvm_is_not_waited_for(
    image: Image,
    folder: Path,
    probes: ProbeCache,
    misbehave: Misbehave,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The holder of the lock sends no heartbeats, so this start tries KVM, too."""
    monkeypatch.setattr(async_lock, "HOLDER_TIMEOUT", 0.1)
    misbehave(failing_kvm.script(folder, "refused"))
    with lock.attempt(probes.path) as ours:
        assert ours
        async with _machine(image, []) as vm:
            assert vm.accel == "tcg"
    assert failing_kvm.tries(folder) == 1


@pytest.mark.parametrize("way", ["internal error", "silent"])
def test_doctor_succeeds_without_kvm(folder: Path, misbehave: Misbehave, way: str) -> None:
    misbehave(failing_kvm.script(folder, way))
    done = CliRunner().invoke(doctor, [])
    lines = {line.split()[1]: line for line in done.stdout.splitlines() if line[:1].strip()}
    assert done.exit_code == 0, done.stdout
    assert lines["kvm"].startswith("note")
    assert lines["machine"].startswith("ok")
    assert failing_kvm.tries(folder) == 1

"""Tests of the trial of KVM at a start, on a QEMU that uses TCG in place of KVM."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from tests.support.target import target
from tests.vm.conftest import Misbehave

from microvm import MicroVM
from microvm.errors import BootError, QemuError
from microvm.images import Image
from microvm.qemu import accel, kvm_failure, launch
from microvm.qemu.accel import Obstacle, ProbeCache
from microvm.qemu.launch import find_qemu

pytestmark = pytest.mark.thorough

# Without KVM, a guest on a busy host may hang unless it is told the frequency of the TSC.
WORKS = f"""
for a; do
    shift
    case "$a" in
        kvm*) a=tcg;;
        host*) a=max;;
        console=*) a="$a tsc_early_khz={launch._tsc_khz()}";;
    esac
    set -- "$@" "$a"
done
"""
NOT = 'case "$all" in *" kvm"*) {} ;; esac'


@pytest.fixture
def probes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, misbehave: Misbehave) -> ProbeCache:
    """Return the probe cache, which is empty, on a host that seems to have KVM."""
    misbehave("")
    monkeypatch.setenv("MICROVM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(accel, "obstacle", lambda _: None)
    monkeypatch.setattr(launch, "KVM", Path(os.devnull))
    return ProbeCache(tmp_path / "cache", find_qemu(target().name))


async def _start(image: Image, requested: str = "auto") -> tuple[str, list[str]]:
    """Return the accelerator of a machine, and the notices that its user received."""
    told: list[str] = []
    options = {"accel": requested, "confinement": "off", "cold": True, "notify": told.append}
    async with MicroVM(image, **options) as vm:  # type: ignore[arg-type]
        return vm.accel, told


async def test_kvm_that_works_is_remembered_also_after_a_failure(
    image: Image, probes: ProbeCache, misbehave: Misbehave
) -> None:
    misbehave(WORKS)
    assert await _start(image) == ("kvm", [])
    assert probes.recall() is True
    probes.remember(works=False)
    assert await _start(image) == ("tcg", [])
    assert await _start(image, "kvm") == ("kvm", [])
    assert probes.recall() is True
    assert await _start(image) == ("kvm", [])


async def test_broken_kvm_is_reported_once_and_retried_after_a_day(
    image: Image, probes: ProbeCache, misbehave: Misbehave
) -> None:
    misbehave(NOT.format("kill -ABRT $$"))
    name, (line,) = await _start(image)
    assert name == "tcg"
    assert line.startswith("KVM refuses to run a machine (QEMU was killed by signal 6 (SIGABRT))")
    assert await _start(image) == ("tcg", [])
    os.utime(probes.path, (time.time() - 25 * 3600,) * 2)
    misbehave(WORKS)
    assert await _start(image) == ("kvm", [])


@pytest.mark.parametrize("end", ["kill -KILL $$", "kill -STOP $$", "ulimit -v 100000"])
async def test_killed_stopped_or_limited_qemu_is_no_failure_of_kvm(
    image: Image, probes: ProbeCache, misbehave: Misbehave, end: str
) -> None:
    misbehave(NOT.format(end) + WORKS)
    name, (line,) = await _start(image)
    assert name == "tcg"
    assert line.startswith("KVM could not be tested (")
    assert probes.recall() is None


@pytest.mark.parametrize(
    ("requested", "script", "says"),
    [
        ("kvm", NOT.format("kill -ABRT $$"), "SIGABRT"),
        ("auto", WORKS.replace("tsc_early_khz", "rdinit=/bin/false tsc_early_khz"), "crashed"),
    ],
    ids=["KVM was requested", "the guest has crashed"],
)
async def test_start_is_not_repeated(
    image: Image, probes: ProbeCache, misbehave: Misbehave, requested: str, script: str, says: str
) -> None:
    probes.remember(works=True)
    folder = misbehave("")
    misbehave(f"echo >>{folder}/started\n{script}")
    with pytest.raises((QemuError, BootError), match=says):
        await _start(image, requested)
    assert (folder / "started").read_text() == "\n"
    assert probes.recall() is None


async def test_forbidden_kvm_device_is_reported_once(
    image: Image, probes: ProbeCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    failure = kvm_failure.FORBIDDEN
    denied = Obstacle(failure, "/dev/kvm: Permission denied", "join its group")
    monkeypatch.setattr(accel, "obstacle", lambda _: denied)
    line = f"{denied.text}; using TCG, which is slower (join its group)"
    assert await _start(image, "tcg") == ("tcg", [])
    assert await _start(image) == ("tcg", [line])
    assert await _start(image) == ("tcg", [])
    absent = denied._replace(failure=kvm_failure.ABSENT)
    monkeypatch.setattr(accel, "obstacle", lambda _: absent)
    probes._replace(subject="obstacle").forget()
    assert await _start(image) == ("tcg", [])

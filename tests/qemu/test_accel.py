"""Choosing an accelerator, remembering what was seen, and this host's own KVM."""

from __future__ import annotations

import asyncio
import os
import platform
from collections.abc import Callable
from pathlib import Path

import pytest

from microvm import accel
from microvm.accel import PROOF_TIMEOUT, Verdicts, candidates, notice
from microvm.console import Console
from microvm.errors import QemuError
from microvm.launch import find_qemu
from microvm.qemu import Qemu
from microvm.qemu_command import QemuConfig
from microvm_image import cache

Configure = Callable[..., QemuConfig]
NATIVE = platform.machine()


@pytest.fixture
def verdicts(tmp_path: Path) -> Verdicts:
    binary = tmp_path / "qemu"
    binary.write_bytes(b"")
    return Verdicts(tmp_path / "cache", binary)


@pytest.fixture
def _promising_kvm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accel, "_obstacle", lambda *_: "")


def test_tcg_on_request(verdicts: Verdicts) -> None:
    assert candidates("tcg", arch=NATIVE, verdicts=verdicts) == ("tcg",)


@pytest.mark.usefixtures("_promising_kvm")
def test_auto_tries_what_is_not_known(verdicts: Verdicts) -> None:
    assert candidates("auto", arch=NATIVE, verdicts=verdicts) == ("kvm", "tcg")


@pytest.mark.usefixtures("_promising_kvm")
def test_auto_remembers(verdicts: Verdicts) -> None:
    verdicts.remember(works=True)
    assert candidates("auto", arch=NATIVE, verdicts=verdicts) == ("kvm",)
    verdicts.remember(works=False)
    assert candidates("auto", arch=NATIVE, verdicts=verdicts) == ("tcg",)
    assert candidates("kvm", arch=NATIVE, verdicts=verdicts) == ("kvm",)


@pytest.mark.parametrize("name", ["missing", "plain file"])
def test_device_that_is_none(
    verdicts: Verdicts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    (tmp_path / "plain file").write_bytes(b"")
    monkeypatch.setattr(accel, "KVM", tmp_path / name)
    assert candidates("auto", arch=NATIVE, verdicts=verdicts) == ("tcg",)
    with pytest.raises(QemuError, match=f"KVM cannot be used: .*{name}.*--accel tcg"):
        candidates("kvm", arch=NATIVE, verdicts=verdicts)


def test_foreign_architecture(verdicts: Verdicts) -> None:
    assert candidates("auto", arch="vax", verdicts=verdicts) == ("tcg",)
    with pytest.raises(QemuError, match="the guest vax"):
        candidates("kvm", arch="vax", verdicts=verdicts)


def test_verdict_is_of_one_build(verdicts: Verdicts) -> None:
    verdicts.remember(works=True)
    assert verdicts.recall() is True
    os.utime(verdicts.binary, (1, 1))
    assert verdicts.recall() is None


def test_verdict_that_is_a_pipe_or_a_link(verdicts: Verdicts, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("works")
    verdicts.folder.mkdir()
    os.mkfifo(verdicts.path)
    verdicts.remember(works=True)
    assert verdicts.recall() is None
    verdicts.path.unlink()
    verdicts.path.symlink_to(victim)
    verdicts.remember(works=False)
    assert verdicts.recall() is None
    assert victim.read_text() == "works"


def test_verdicts_make_no_cache_that_others_can_write(
    verdicts: Verdicts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MICROVM_CACHE", str(verdicts.folder))
    before = os.umask(0)
    try:
        verdicts.remember(works=True)
    finally:
        os.umask(before)
    assert cache.root() == verdicts.folder
    assert verdicts.path.stat().st_mode & 0o777 == 0o644


def test_verdict_that_is_damaged(verdicts: Verdicts) -> None:
    verdicts.remember(works=True)
    (file,) = verdicts.folder.iterdir()
    file.write_bytes(b"\xff")
    assert verdicts.recall() is None


def test_verdict_leaves_one_file(verdicts: Verdicts) -> None:
    verdicts.remember(works=True)
    verdicts.remember(works=False)
    assert len(list(verdicts.folder.iterdir())) == 1


def test_verdict_that_cannot_be_kept(verdicts: Verdicts) -> None:
    verdicts.folder.write_bytes(b"in the way")
    verdicts.remember(works=True)
    assert verdicts.recall() is None


def test_notice_is_one_line() -> None:
    text = notice("kvm")
    assert text.startswith("KVM does not work here; using TCG")
    assert "\n" not in text


async def failure_to_speak(config: QemuConfig) -> QemuError | None:
    with Console() as console:
        try:
            async with await Qemu.start(config, console=console):
                for _ in range(1000):
                    if "hello from the guest" in console.tail():
                        return None
                    await asyncio.sleep(0.01)
                pytest.skip("this KVM runs guests into nothing: only a deadline tells")
        except QemuError as error:
            return error


async def test_kvm_works_or_says_why_not(configure: Configure, tmp_path: Path) -> None:
    """Where there is a /dev/kvm, whole or broken: a guest that speaks, or a reason in seconds."""
    verdicts = Verdicts(tmp_path, find_qemu("x86_64"))
    if candidates("auto", arch="x86_64", verdicts=verdicts) != ("kvm", "tcg"):
        pytest.skip("there is no KVM here to try")
    async with asyncio.timeout(PROOF_TIMEOUT):
        failure = await failure_to_speak(configure(accel="kvm"))
    if failure is not None:
        # The last where only root may open the device, and this QEMU cannot inherit it.
        reasons = "QEMU was killed by signal", "Property 'kvm-accel.device' not found"
        assert any(reason in failure.message for reason in reasons)
        assert failure.detail

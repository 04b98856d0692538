"""Tests of configurations that QEMU or this host refuses: the error has a hint, nothing remains."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.qemu.conftest import Configure, start
from tests.support.ordinary import acting_as_user, only_root

from microvm.errors import ImageError, QemuError
from microvm.qemu import confinement, qmp
from microvm.qemu import process as qemu_module
from microvm.qemu.launch import find_qemu

pytestmark = pytest.mark.usefixtures("_leakless")


@pytest.fixture
def denied(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A link to QEMU in a folder in PATH that other users may not search."""
    with tempfile.TemporaryDirectory(prefix="microvm-test-") as folder:
        link = Path(folder, "qemu-system-x86_64")
        link.symlink_to(find_qemu("x86_64"))
        monkeypatch.setenv("PATH", f"{folder}::/dev/null:/nonexistent:{os.environ['PATH']}")
        yield link


@only_root
def test_folder_of_path_that_may_not_be_searched_is_skipped(denied: Path) -> None:
    qemu = denied.readlink()
    assert find_qemu("x86_64") == denied
    with acting_as_user():
        assert find_qemu("x86_64") == qemu


@only_root
def test_error_names_the_program_that_may_not_be_executed(
    denied: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(denied.parent))
    expected = re.escape(f"cannot execute {denied}: Permission denied")
    with acting_as_user(), pytest.raises(QemuError, match=expected):
        find_qemu("x86_64")
    denied.unlink()
    denied.touch(mode=0o644)
    with pytest.raises(QemuError, match=expected):
        find_qemu("x86_64")


async def test_invalid_kernel_is_refused(configure: Configure, tmp_path: Path) -> None:
    garbage = tmp_path / "garbage"
    garbage.write_bytes(b"not a kernel" * 1000)
    with pytest.raises(QemuError, match=r"status 1: .*kernel") as caught:
        await start(configure(kernel=garbage))
    assert str(garbage) in caught.value.hint


@pytest.mark.parametrize("name", ["kernel", "initramfs"])
async def test_missing_kernel_or_initramfs_is_refused(
    configure: Configure, tmp_path: Path, name: str
) -> None:
    with pytest.raises(ImageError, match="missing: No such file"):
        await start(configure(**{name: tmp_path / "missing"}))


async def test_error_of_a_refused_argument_has_the_text_of_qemu(configure: Configure) -> None:
    with pytest.raises(QemuError, match="Invalid SMP CPUs 999") as caught:
        await start(configure(cpus=999))
    assert "Invalid SMP CPUs 999" in caught.value.detail


async def test_missing_qemu_is_reported_with_the_package(
    configure: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(QemuError, match="apt install qemu-system-x86"):
        await start(configure())


async def test_old_qemu_is_refused(configure: Configure, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(qmp, "MINIMUM_VERSION", (99, 0))
    with pytest.raises(QemuError, match=r"is too old \(install at least QEMU 99.0"):
        await start(configure())


async def test_qemu_that_does_not_answer_is_an_error(
    configure: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(qemu_module, "START_TIMEOUT", 0.001)
    with pytest.raises(QemuError, match=r"did not start the guest within 0.0\d* s"):
        await start(configure())


@pytest.fixture
def _script(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    name = "qemu-system-x86_64"
    with tempfile.TemporaryDirectory(prefix="microvm-test-", dir="/tmp") as folder:
        script = Path(folder, name)
        script.write_text(f'#!/bin/sh\nexec {shutil.which(name)} "$@"\n')
        for path in script, script.parent:
            path.chmod(0o755)  # QEMU runs as another user, who must read it
        monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
        yield


@pytest.mark.usefixtures("_script")
async def test_script_in_place_of_qemu_needs_confinement_off(configure: Configure) -> None:
    with pytest.raises(QemuError, match=r"status 126: .*Operation not permitted") as caught:
        await start(configure())
    assert "--confinement off" in caught.value.hint
    await start(configure(confinement="off"))


@pytest.fixture
def _no_libraries(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make this host have the libraries of QEMU where QEMU may not read them."""
    loader = os.path.realpath("/lib64/ld-linux-x86-64.so.2")
    loaders = ("/lib64", "/usr/lib64", loader, loader.removeprefix("/usr"))
    monkeypatch.setattr(confinement, "_READ", ("/usr/bin", *loaders))


@pytest.mark.usefixtures("_no_libraries")
async def test_unreadable_libraries_need_confinement_off(configure: Configure) -> None:
    with pytest.raises(QemuError, match=r"status 127: .*shared object") as caught:
        await start(configure())
    assert "--confinement off" in caught.value.hint
    await start(configure(confinement="off"))

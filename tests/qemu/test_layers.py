"""Tests of the layers of confinement of QEMU, of the launcher's options, and of its status."""

from __future__ import annotations

import os
import resource
from pathlib import Path
from typing import Any

import pytest
from tests.qemu.conftest import Configure, running, start

from microvm.errors import ConfinementError, QemuError
from microvm.qemu import launch
from microvm.qemu.command_line import Inherited, Memory, QemuConfig
from microvm.qemu.confinement import (
    DEMANDED,
    LAYERS,
    LauncherReport,
    launcher_options,
    may_raise,
    missing,
    readable,
    saved_size,
)

CONFIG = QemuConfig(Path("k"), Path("i"), "mmio", "tcg", "x86_64", memory=512)
INHERITED = Inherited(qmp=10, port=11, console=12, kernel=13, initramfs=14)
QEMU = Path("/usr/bin/qemu")
SAVED = Memory(ram=15, state=16, saved=True)


def told(config: QemuConfig = CONFIG, inherited: Inherited = INHERITED, **more: Any) -> list[str]:
    """Return the options of the launcher, each with its value."""
    settings = {"controller": 7, "status": 8, "root": False, **more}
    words = launcher_options(config, inherited, QEMU, **settings)
    return [" ".join(pair) for pair in zip(words[::2], words[1::2], strict=True)]


@pytest.mark.parametrize(
    ("memory", "read", "written"),
    [
        (None, (13, 14), ()),
        (SAVED, (13, 14, 15), ()),
        (SAVED._replace(copied=True), (13, 14), (15,)),
        (SAVED._replace(saved=False), (13, 14), (15, 16)),
    ],
)
def test_clone_cannot_write_shared_memory(
    memory: Memory | None, read: tuple[int, ...], written: tuple[int, ...]
) -> None:
    inherited = INHERITED._replace(memory=memory)
    assert (inherited.read_only(), inherited.writable()) == (read, written)
    inherited = inherited._replace(disk=17)
    assert (inherited.read_only(), inherited.disks()) == (read, (17,))
    options = told(inherited=inherited)
    assert [word for word in options if word.startswith("--file")] == [f"--file {n}" for n in read]
    assert [word for word in options if word.startswith("--disk")] == ["--disk 17"]
    assert ("--writable 15" in options) == (15 in written)


def test_folders_beside_the_program_are_readable(tmp_path: Path) -> None:
    program, link = tmp_path / "opt/bin/qemu", tmp_path / "qemu"
    program.parent.mkdir(parents=True)
    program.touch()
    link.symlink_to(program)
    paths = readable(link)
    beside = {str(folder / "lib") for folder in (tmp_path.parent, program.parent.parent)}
    assert {str(link), str(program), *beside} <= set(paths)
    assert not {str(tmp_path), str(tmp_path / "opt"), str(Path.home())} & set(paths)


def test_report_is_parsed_in_pieces() -> None:
    status = LauncherReport()
    for part in (b"pid 1", b"2\nuser no disabled\npid ok\nlimits ok core file-size\nids o", b"k\n"):
        status.feed(part)
    assert status.pid == 12
    assert str(status) == "pid, limits (core file-size), ids; without user (disabled)"
    status.check(required=False)
    status.feed(b"failed cannot execute qemu: Permission denied\n")
    with pytest.raises(
        QemuError, match="cannot start QEMU: cannot execute qemu: Permission denied"
    ):
        status.check(required=False)


@pytest.mark.parametrize("names", DEMANDED, ids="-or-".join)
def test_missing_lists_demanded_layers(names: tuple[str, ...]) -> None:
    status = LauncherReport()
    for layer in LAYERS:
        word = "no of the kernel" if layer.name in names else "ok"
        status.feed(f"{layer.name} {word}\n".encode())
    wanting = [" and ".join(f"no {name} (of the kernel)" for name in names)]
    assert missing(status.results) == wanting
    with pytest.raises(ConfinementError, match="no "):
        status.check(required=True)
    status.feed(f"{names[-1]} ok\n".encode())
    assert not missing(status.results)
    status.check(required=True)


@pytest.fixture
def _no_filter(monkeypatch: pytest.MonkeyPatch) -> None:
    def without(*args: Any, **more: Any) -> list[str]:
        return [*launcher_options(*args, **more), "--without", "seccomp"]

    monkeypatch.setattr(launch, "launcher_options", without)


@pytest.mark.usefixtures("_leakless", "_no_filter")
async def test_require_fails_without_a_demanded_layer(configure: Configure) -> None:
    await start(configure())
    with pytest.raises(ConfinementError, match=r"no seccomp \(disabled\)") as refused:
        await start(configure(confinement="require"))
    assert "`microvm confinement`" in refused.value.hint
    assert refused.value.exit_status == 125


@pytest.mark.parametrize("confinement", ["auto", "require", "off"])
async def test_guest_starts_with_each_confinement(configure: Configure, confinement: str) -> None:
    await start(configure(confinement=confinement))


@pytest.mark.skipif(not may_raise(), reason="this root cannot raise limits, so there is none")
async def test_snapshot_raises_file_size_limit(configure: Configure) -> None:
    async with running(configure()) as qemu:

        def most() -> int:
            return resource.prlimit(qemu.pid, resource.RLIMIT_FSIZE)[0]

        assert most() == 0
        with qemu._process.file_size_limit(saved_size(qemu.config)):
            assert 64 << 20 < most() < 256 << 20
        assert most() == 0
    assert os.geteuid() == 0 or may_raise()

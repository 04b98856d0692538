"""Tests of templates, and of the machines that are cloned from them."""

from __future__ import annotations

import asyncio
import hashlib
import os
import resource
import subprocess
import sys
import time
from pathlib import Path
from random import Random
from typing import Any

import pytest
from tests.support.parameters import accelerator
from tests.support.process_settings import soft_limit
from tests.support.processes import children, open_files
from tests.vm.conftest import Command, Misbehave

from microvm import MicroVM, TemplateError
from microvm.images import Image
from microvm.qemu import migration
from microvm.start import template, warmup

pytestmark = pytest.mark.thorough

MEMORY = 96
"""The memory of a guest in MiB: little, so that its template is saved quickly."""


def _machine(image: Image, *, memory: int = MEMORY, **options: Any) -> MicroVM:
    return MicroVM(image, memory=f"{memory}M", accel=accelerator(), **options)


async def start(image: Image, **options: Any) -> tuple[bool, list[str]]:
    """Start a machine. Return whether it was cloned, and the notices that its user received."""
    told: list[str] = []
    async with _machine(image, notify=told.append, **options) as vm:
        assert (await vm.run(["echo", "hello"])).stdout == b"hello\n"
        return vm.cloned, told


def _templates(cache: Path) -> list[Path]:
    return list((cache / "templates").glob("[!.]*"))


def _folder(cache: Path) -> Path:
    (found,) = _templates(cache)
    return found


def _maps(vm: MicroVM) -> str:
    return Path(f"/proc/{vm.pid}/maps").read_text()


async def test_first_start_saves_a_template_and_later_starts_use_it(
    image: Image, cache: Path
) -> None:
    assert await start(image, cold=True) == (False, [])
    assert _templates(cache) == []
    assert await start(image) == (True, [])
    before = (_folder(cache) / "ram").stat()
    assert await start(image) == (True, [])
    after = (_folder(cache) / "ram").stat()
    assert (after.st_ino, after.st_ctime_ns) == (before.st_ino, before.st_ctime_ns)
    assert list((cache / "templates").iterdir()) == _templates(cache)


async def test_command_makes_a_template_once(image: Image, cache: Path, microvm: Command) -> None:
    made, again = (microvm(*make_arguments(image)) for _ in range(2))
    assert (made.returncode, made.stdout) == (0, b""), made.stderr
    assert f"saving a template of {image.name}".encode() in made.stderr
    assert (again.returncode, again.stdout, again.stderr) == (0, b"", b"")
    before = (_folder(cache) / "ram").stat()
    assert await start(image) == (True, [])
    assert (_folder(cache) / "ram").stat().st_ino == before.st_ino


async def test_clones_map_the_file_of_the_template(image: Image, cache: Path) -> None:
    """The clones share the pages of the file, even if QEMU's uid may not read the file."""
    async with _machine(image) as vm, _machine(image) as other:
        ram = _folder(cache) / "ram"
        assert ram.stat().st_mode & 0o7777 == 0o400
        for each in vm, other:
            maps = _maps(each)
            if "memfd:microvm-file" in maps:
                pytest.skip("no mount here gives a file another owner")
            assert f" {ram.stat().st_ino} " in maps


async def test_template_is_saved_after_the_clock_is_chosen(image: Image, cache: Path) -> None:
    """Debian's kernel uses its early clock for a second under emulation on x86."""
    async with _machine(image) as vm:
        assert vm.cloned
        assert await vm.read_file(warmup._CLOCK) != b"tsc-early\n"


async def test_qemu_without_file_migration_clones_by_descriptors(
    image: Image, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Like QEMU 8.1 and older versions.
    monkeypatch.setattr(migration, "FILE_MIGRATION", (99, 0))
    assert await start(image) == (True, [])
    ram = _folder(cache) / "ram"
    before = hashlib.sha256(ram.read_bytes()).digest()
    assert await start(image) == (True, [])
    assert hashlib.sha256(ram.read_bytes()).digest() == before


def _flip_a_bit(file: Path, at: int) -> None:
    file.chmod(0o600)
    with file.open("r+b") as opened:
        opened.seek(at)
        byte = opened.read(1)[0]
        opened.seek(at)
        opened.write(bytes([byte ^ 1]))


@pytest.mark.parametrize(("part", "at"), [("state", 1000), ("ram", 1 << 20)])
async def test_damaged_template_is_made_again_with_one_notice(
    image: Image, cache: Path, part: str, at: int
) -> None:
    await start(image)
    _flip_a_bit(_folder(cache) / part, at)
    cloned, (line,) = await start(image)
    assert cloned
    assert line.endswith("has changed since it was saved; making it again")
    assert await start(image) == (True, [])


@pytest.mark.parametrize("changes", [500, pytest.param(10_000, marks=pytest.mark.long)])
async def test_a_changed_byte_of_a_saved_guest_is_refused(
    image: Image, cache: Path, changes: int
) -> None:
    await start(image)
    folder = _folder(cache)
    with template.STORE.opened(folder.name) as memory:
        assert memory is not None
        saved = os.pread(memory.state, 1 << 20, 0)
    random = Random(changes)
    for part in ("state", "manifest.json"):
        (folder / part).chmod(0o600)
        with (folder / part).open("r+b", buffering=0) as file:
            whole = file.read()
            for _ in range(changes):
                at, change = random.randrange(len(whole)), random.randrange(1, 256)
                os.pwrite(file.fileno(), bytes([whole[at] ^ change]), at)
                try:
                    with template.STORE.opened(folder.name) as memory:
                        # Some bytes of the manifest have no effect.
                        assert part != "state"
                        assert memory is not None
                        assert os.pread(memory.state, 1 << 20, 0) == saved
                except TemplateError:
                    pass
                os.pwrite(file.fileno(), whole[at : at + 1], at)
    assert await start(image) == (True, [])


async def test_state_that_qemu_refuses_is_made_again_with_one_notice(
    image: Image, cache: Path
) -> None:
    await start(image)
    state, manifest = (_folder(cache) / part for part in ("state", "manifest.json"))
    for file in (state, manifest):
        file.chmod(0o600)
    digest = hashlib.sha256(state.read_bytes()).hexdigest()
    state.write_bytes(b"another QEMU's")
    changed = hashlib.sha256(state.read_bytes()).hexdigest()
    manifest.write_text(manifest.read_text().replace(digest, changed))
    cloned, (line,) = await start(image)
    assert cloned
    assert line.startswith("cannot clone")
    assert line.endswith("making it again")
    assert await start(image) == (True, [])


async def test_guests_cannot_change_their_template(image: Image, cache: Path) -> None:
    async with _machine(image) as first, _machine(image) as second:
        ram = _folder(cache) / "ram"
        before = hashlib.sha256(ram.read_bytes()).digest()
        fill = "yes scribble | head -c 16m >/tmp/file; echo gone >/etc/hostname; sync"
        await first.run(["sh", "-c", fill], check=True)
        assert (await second.run(["cat", "/etc/hostname"])).stdout != b"gone\n"
        assert hashlib.sha256(ram.read_bytes()).digest() == before
        (saved,) = template.STORE.installed()
        assert saved.manifest is not None
        modes = set() if saved.manifest.copied else {os.O_RDONLY}
        for vm in (first, second):
            assert _modes(vm.pid or 0, ram) == modes
    assert await start(image) == (True, [])


def _modes(pid: int, file: Path) -> set[int]:
    """Return the access modes with which a process has opened a file."""
    process = Path(f"/proc/{pid}")
    numbers = [n for n in map(str, open_files(pid)) if (process / "fd" / n).samefile(file)]
    flags = [(process / "fdinfo" / n).read_text().split("flags:")[1] for n in numbers]
    return {int(text.split()[0], 8) & os.O_ACCMODE for text in flags}


@pytest.mark.parametrize("cold", [True, False])
async def test_qemu_can_be_launched_before_the_imports_end(
    image: Image, cache: Path, cold: bool
) -> None:
    await start(image)
    before = children(os.getpid())
    vm = _machine(image, cold=cold)
    vm._launch_early()
    launched = time.monotonic()
    assert set(children(os.getpid())) - set(before)
    async with vm:
        assert {vm.pid} == set(children(os.getpid())) - set(before)
        assert vm._start_times is not None
        assert (vm._start_times.begun < launched, vm.cloned) == (True, not cold)
    vm = _machine(image, cold=cold)
    vm._launch_early()
    await vm.stop()
    assert children(os.getpid()) == before


async def test_full_disk_means_a_boot_and_one_notice(image: Image, cache: Path) -> None:
    # The file of the RAM would exceed this limit, so writing it fails as on a full disk.
    with soft_limit(resource.RLIMIT_FSIZE, 8 << 20):
        cloned, (line,) = await start(image)
    assert not cloned
    assert "booting instead" in line


@pytest.mark.usefixtures("cache")
async def test_processes_make_a_shared_template_once(image: Image, misbehave: Misbehave) -> None:
    log = misbehave("") / "log"
    log.touch()
    log.chmod(0o666)
    misbehave(f'echo "$all" >>{log}')
    processes = [
        await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "microvm", *run_arguments(image, "--confinement", "off")),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        for _ in range(3)
    ]
    for process in processes:
        said = (await process.communicate())[0].splitlines()
        assert all(line.startswith(b"microvm: waiting for process") for line in said), said
        assert process.returncode == 0
    starts = log.read_text().splitlines()
    assert sum("-S" in start.split() for start in starts) == 1
    assert sum("-incoming" in start for start in starts) == 3


def make_arguments(image: Image) -> list[str]:
    memory, accel = ("--memory", f"{MEMORY}M"), ("--accel", accelerator())
    return ["template", "make", str(image.path), *memory, *accel]


def run_arguments(image: Image, *more: str) -> list[str]:
    options = ["--image", str(image.path), "--memory", f"{MEMORY}M", "--accel", accelerator()]
    return ["run", *options, *more, "--", "true"]

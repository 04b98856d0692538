"""Saved guests, and the machines that are cloned from them."""

from __future__ import annotations

import asyncio
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from random import Random
from typing import Any

import pytest
from tests.vm.conftest import Command, children_of

from microvm import MicroVM
from microvm.session import Session
from microvm_image import Image

MEMORY = 96
"""MiB, so that a template is soon made."""


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, image: Image) -> Path:
    """An empty cache of this test's own; the image lies elsewhere."""
    del image
    monkeypatch.setenv("MICROVM_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def _machine(image: Image, **options: Any) -> MicroVM:
    return MicroVM(image, **{"memory": MEMORY, "accel": "tcg", **options})


async def _start(image: Image, **options: Any) -> tuple[bool, list[str]]:
    """Whether a machine was cloned, and what its user was told."""
    told: list[str] = []
    async with _machine(image, notify=told.append, **options) as vm:
        assert (await vm.run(["echo", "hello"])).stdout == b"hello\n"
        return vm.cloned, told


def _templates(cache: Path) -> list[Path]:
    return list((cache / "templates").glob("[!.]*"))


def _folder(cache: Path) -> Path:
    (found,) = _templates(cache)
    return found


async def test_the_first_start_saves_a_guest_and_later_ones_use_it(
    image: Image, cache: Path
) -> None:
    assert await _start(image, cold=True) == (False, [])
    assert _templates(cache) == []
    assert await _start(image) == (True, [])
    before = (_folder(cache) / "ram").stat()
    assert await _start(image) == (True, [])
    after = (_folder(cache) / "ram").stat()
    assert (after.st_ino, after.st_ctime_ns) == (before.st_ino, before.st_ctime_ns)
    assert list((cache / "templates").iterdir()) == _templates(cache)


async def test_another_configuration_is_another_template(image: Image, cache: Path) -> None:
    await _start(image)
    async with _machine(image, memory=MEMORY + 1) as vm:
        assert vm.cloned
        assert len(_templates(cache)) == 2


def _flip_a_bit(file: Path, at: int) -> None:
    file.chmod(0o600)
    with file.open("r+b") as opened:
        opened.seek(at)
        byte = opened.read(1)[0]
        opened.seek(at)
        opened.write(bytes([byte ^ 1]))


@pytest.mark.parametrize(("part", "at"), [("state", 1000), ("ram", 1 << 20)])
async def test_a_damaged_template_is_made_anew_with_one_line(
    image: Image, cache: Path, part: str, at: int
) -> None:
    await _start(image)
    _flip_a_bit(_folder(cache) / part, at)
    cloned, told = await _start(image)
    assert cloned
    (line,) = told
    assert line.endswith("is not what was saved; making it anew")
    assert await _start(image) == (True, [])


async def test_a_disk_that_is_full_means_a_boot_and_one_line(image: Image, cache: Path) -> None:
    del cache
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    # No file may become larger than this, that of the RAM would: written as a full disk would be.
    resource.setrlimit(resource.RLIMIT_FSIZE, (8 << 20, before[1]))
    try:
        cloned, told = await _start(image)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not cloned
    (line,) = told
    assert "booting instead" in line


@pytest.fixture
def wrapped(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder at the head of PATH, for a QEMU that is not quite QEMU."""
    folder = Path(tempfile.mkdtemp(prefix="microvm-test-"))
    folder.chmod(0o777)  # QEMU may run as another user
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    yield folder
    shutil.rmtree(folder)


def _wrap(folder: Path, image: Image, script: str) -> None:
    name = f"qemu-system-{image.manifest.arch}"
    real = shutil.which(name)
    (folder / name).write_text(f'#!/bin/sh\n{script}\nexec {real} "$@"\n')
    (folder / name).chmod(0o755)


async def test_a_qemu_that_makes_no_clones_boots_and_says_so_once(
    image: Image, cache: Path, wrapped: Path
) -> None:
    del cache
    _wrap(wrapped, image, 'for a; do [ "$a" != -incoming ] || exit 1; done')
    cloned, told = await _start(image)
    assert not cloned
    (line,) = told
    assert "makes no clones" in line
    assert await _start(image) == (False, [])


async def test_two_that_want_the_same_template_make_it_once(
    image: Image, cache: Path, wrapped: Path
) -> None:
    del cache
    log = wrapped / "log"
    log.touch()
    log.chmod(0o666)
    _wrap(wrapped, image, f'echo "$@" >>{log}')
    results = await asyncio.gather(*(_start(image) for _ in range(3)))
    assert results == [(True, [])] * 3
    starts = log.read_text().splitlines()
    assert sum("share=on" in start for start in starts) == 1
    assert sum("-incoming" in start for start in starts) == 3


async def _clones(image: Image, count: int) -> list[tuple[bytes, float]]:
    """What each of several clones draws at random, and how far its clock is from ours."""
    drawn = []
    for _ in range(count):
        async with _machine(image) as vm:
            assert vm.cloned
            before = time.time()
            result = await vm.run(["sh", "-c", "head -c 32 /dev/urandom; adjtimex"], check=True)
            after = time.time()
            lines = result.stdout[32:].decode().splitlines()
            (seconds,) = (line.split()[-1] for line in lines if "time.tv_sec" in line)
            (rest,) = (line.split()[-1] for line in lines if "time.tv_usec" in line)
            clock = int(seconds) + int(rest) / 1e6
            drawn.append((result.stdout[:32], max(before - clock, clock - after, 0.0)))
    return drawn


@pytest.mark.parametrize("count", [8, pytest.param(100, marks=pytest.mark.long)])
async def test_clones_are_not_twins(image: Image, count: int) -> None:
    drawn = await _clones(image, count)
    assert len({random for random, _ in drawn}) == count
    assert max(off for _, off in drawn) < 0.05


async def test_without_fresh_entropy_they_would_be(
    image: Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Session, "resume", lambda _: b"")
    drawn = await _clones(image, 4)
    assert len({random for random, _ in drawn}) < 4


@pytest.mark.parametrize("starts", [8, pytest.param(200, marks=pytest.mark.long)])
def test_starts_that_are_killed_leave_nothing(
    microvm: Command, image: Image, cache: Path, starts: int
) -> None:
    random = Random(starts)
    arguments = ["run", "--image", str(image.path), "--memory", f"{MEMORY}M"]
    arguments += ["--accel", "tcg", "--", "true"]
    for number in range(starts):
        process = subprocess.Popen(
            [sys.executable, "-m", "microvm", *arguments], stderr=subprocess.DEVNULL
        )
        # Now and then while a template is made, which takes seconds, else while one is used.
        time.sleep(random.uniform(0, 3.0 if number % 8 == 0 else 0.5))
        children = children_of(process.pid) if process.poll() is None else []
        process.send_signal(signal.SIGKILL)
        process.wait()
        for child in children:
            _wait_for_end(child)
        if number % 8 == 7:
            shutil.rmtree(cache / "templates", ignore_errors=True)
    assert microvm(*arguments).returncode == 0
    result = microvm(*arguments)
    assert (result.returncode, result.stderr) == (0, b"")
    assert microvm("template", "prune").stdout == b""
    assert len(list((cache / "templates").iterdir())) == 1


def _wait_for_end(pid: int) -> None:
    deadline = time.monotonic() + 10
    while Path(f"/proc/{pid}").exists():
        assert time.monotonic() < deadline
        time.sleep(0.005)


@pytest.mark.parametrize("count", [10, pytest.param(100, marks=pytest.mark.long)])
async def test_many_clones_live_at_once(image: Image, count: int) -> None:
    async with AsyncExitStack() as stack:
        machines = [
            await stack.enter_async_context(_machine(image, memory=128)) for _ in range(count)
        ]
        for number, vm in enumerate(machines):
            assert (await vm.run(["echo", str(number)])).stdout == f"{number}\n".encode()
        sizes = [_proportional(vm.pid or 0) for vm in machines]
    print(f"{count} clones, {sum(sizes) / count / (1 << 20):.1f} MiB of proportional set size each")


def _proportional(pid: int) -> int:
    """Bytes of memory that a process takes, each shared page divided by its sharers."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) << 10
    raise AssertionError(pid)

"""Tests of failures while a snapshot is taken, saved or used: clear errors, and nothing remains."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from random import Random

import pytest
import pytest_asyncio
from tests.support.killing import KilledStarts
from tests.support.parameters import accelerator
from tests.support.processes import children, open_files
from tests.support.small_disk import small_disk
from tests.support.target import target
from tests.vm.conftest import Command, Misbehave

from microvm import CacheError, MicroVM, QemuError, Snapshot, SnapshotError
from microvm import cache as caches
from microvm.images import Image
from microvm.start import restorer, snapshots
from microvm_image import default

pytestmark = [
    pytest.mark.thorough,
    pytest.mark.usefixtures("copied_cache"),
]  # since tests look for files that remain

MEMORY = "96M"

# A process that counts forever, and a script that waits until the count has changed.
TICK = "while :; do echo; sleep 0.1; done >/run/ticks 2>/dev/null </dev/null &"
TICKED = "n=$(wc -l </run/ticks); until [ $(wc -l </run/ticks) -gt $n ]; do sleep 0.05; done"

MANY = pytest.param(300, marks=pytest.mark.long)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def prepared(image: Image) -> AsyncIterator[MicroVM]:
    """A machine with waiting processes. Each test leaves it as it is."""
    # So that tests can replace the QEMU of its forks.
    async with MicroVM(image, memory=MEMORY, accel=accelerator(), confinement="off") as vm:
        await vm.run(["sh", "-c", "sleep 100000 >/dev/null 2>&1 </dev/null &"], check=True)
        await vm.run(["sh", "-c", TICK], check=True)
        yield vm


@contextmanager
def _leaves_nothing() -> Iterator[None]:
    """Check that no process, descriptor or file remains."""
    before = set(children(os.getpid())), open_files(os.getpid()), _files()
    yield
    assert (set(children(os.getpid())), open_files(os.getpid()), _files()) == before


def _files() -> list[Path]:
    folder = caches.folder("snapshots")
    return [each for each in folder.rglob("*") if each.is_file()] if folder.exists() else []


async def _is_well(vm: MicroVM) -> None:
    assert (await vm.run(["pidof", "sleep"])).returncode == 0
    with await vm.checkpoint() as taken:
        async with MicroVM(taken, confinement="off") as clone:
            assert (await clone.run(["pidof", "sleep"])).returncode == 0


@pytest.mark.parametrize(
    ("hook", "says"),
    [
        ("exit 1", "QEMU"),
        ("kill -STOP $$", "QEMU was stopped by a signal"),
        ("exec sleep 0.2", "QEMU"),
    ],
)
async def test_failed_save_is_an_error_and_leaves_nothing(
    prepared: MicroVM, misbehave: Misbehave, hook: str, says: str
) -> None:
    with _leaves_nothing():
        misbehave(f"clones && saves && {hook}")
        with pytest.raises(SnapshotError, match=f"cannot take a snapshot: .*{says}"):
            await prepared.checkpoint()
        misbehave("")
        await _is_well(prepared)


async def test_killed_start_of_a_fork_is_repeated(
    prepared: MicroVM, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed = KilledStarts(monkeypatch, restorer, 1)
    with _leaves_nothing():
        async with await prepared.fork(2) as forks:
            assert killed.left == 0
            for fork in forks:
                assert (await fork.run(["pidof", "sleep"])).returncode == 0
        killed.left = 2
        with await prepared.checkpoint() as taken, pytest.raises(QemuError, match="SIGKILL"):
            await MicroVM(taken).start()


@pytest.mark.parametrize("times", [8, MANY])
@pytest.mark.parametrize("name", [None, "here"])
@pytest.mark.usefixtures("cache")
async def test_snapshot_cancelled_at_any_moment(
    prepared: MicroVM, times: int, name: str | None
) -> None:
    random = Random(times)
    with _leaves_nothing():
        for _ in range(times):
            taking = asyncio.create_task(prepared.checkpoint(name))
            await asyncio.sleep(random.uniform(0, 0.5))
            taking.cancel()
            with suppress(asyncio.CancelledError):
                (await taking).close()
            if snapshots.STORE.installed():
                snapshots.STORE.remove("here")
            await prepared.run(["sh", "-c", TICKED], check=True, timeout=30)
        await _is_well(prepared)


async def test_full_disk_is_an_error_and_leaves_nothing(prepared: MicroVM, cache: Path) -> None:
    caches.make(cache.parent)
    with small_disk(cache, "6m"), _leaves_nothing():
        with pytest.raises(CacheError, match="disk full"):
            await prepared.checkpoint("here")
        assert _files() == []
        await _is_well(prepared)


async def test_full_disk_while_the_scratch_disk_is_copied(
    image: Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "cache"
    async with MicroVM(image, memory=MEMORY, accel=accelerator(), disk="256M") as vm:
        await vm.run(["sh", "-c", "head -c 20m /dev/urandom >/file; sync"], check=True)
        monkeypatch.setenv("MICROVM_CACHE", str(cache))
        full = pytest.raises(CacheError, match="disk full")
        with small_disk(cache, "6m"), _leaves_nothing(), full:
            await vm.checkpoint()
        assert (await vm.run(["wc", "-c", "/file"])).stdout == b"20971520 /file\n"


async def test_removed_or_replaced_snapshot_cannot_be_started(
    prepared: MicroVM, cache: Path
) -> None:
    kept = await prepared.checkpoint("here")
    shutil.rmtree(cache)
    with _leaves_nothing(), pytest.raises(SnapshotError, match="no snapshot here"):
        await MicroVM(kept).start()
    again = await prepared.checkpoint("here")
    with _leaves_nothing(), pytest.raises(SnapshotError, match="here has been replaced"):
        await MicroVM(kept).start()
    async with MicroVM(again) as clone:
        assert (await clone.run(["pidof", "sleep"])).returncode == 0


async def test_copied_cache_of_a_snapshot_contains_its_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "of-a-copy"
    image = default(arch=target().name)  # the image in this module's cache
    async with MicroVM(image, memory=MEMORY, accel=accelerator()) as vm:
        (await vm.checkpoint(name)).close()
    copy = tmp_path / "copy"
    try:
        shutil.copytree(snapshots.STORE.path(name), copy / "snapshots" / name)
    finally:
        snapshots.STORE.remove(name)
    monkeypatch.setenv("MICROVM_CACHE", str(copy))
    with pytest.raises(SnapshotError, match="cannot be used without its image"):
        MicroVM(Snapshot.find(name))._launch_early()  # the image of the snapshot still exists
    shutil.copytree(image.path, copy / "images" / image.name)
    assert snapshots.obstacle(name) == ""
    async with MicroVM(Snapshot.find(name)) as clone:
        assert (await clone.run(["echo", "hello"])).stdout == b"hello\n"


@pytest.mark.parametrize("kills", [3, MANY])
def test_controller_killed_while_it_saves(microvm: Command, kills: int) -> None:
    """The name refers to the old snapshot, to the new one, or for a moment to none."""
    random = Random(kills)
    name = "of-a-killed-process"
    command = ["run", "--memory", MEMORY, "--accel", accelerator(), "--save", name, "--", "true"]
    try:
        for _ in range(kills):
            process = subprocess.Popen([sys.executable, "-m", "microvm", *command])
            time.sleep(random.uniform(0.3, 2.0))
            process.kill()
            process.wait()
            with snapshots.STORE.opened(name):
                pass
        assert microvm(*command).returncode == 0
        folder = snapshots.STORE.folder
        assert [each.name for each in folder.iterdir() if name in each.name] == [name]
        assert microvm("run", "--from", name, "--", "true").returncode == 0
    finally:
        snapshots.STORE.remove(name)


@pytest.mark.usefixtures("cache")
async def test_snapshot_without_room_is_refused_with_a_next_step(
    image: Image, tmp_path: Path, misbehave: Misbehave
) -> None:
    copied = tmp_path / "image"
    shutil.copytree(image.path, copied)
    async with MicroVM(copied, memory=MEMORY, accel=accelerator(), confinement="off") as vm:
        kept = await vm.checkpoint("here")
    os.utime(misbehave("") / f"qemu-system-{image.manifest.arch}", (1e9, 1e9))  # another build
    anew = "take the snapshot again"
    with pytest.raises(SnapshotError, match="it was saved by another QEMU") as refused:
        await MicroVM(kept).start()
    assert refused.value.hint == anew
    with pytest.raises(SnapshotError, match="it was saved by another QEMU"):
        MicroVM(Snapshot.find("here"))._launch_early()
    shutil.rmtree(copied)
    with pytest.raises(SnapshotError, match="cannot be used without its image") as refused:
        await MicroVM(kept).start()
    assert refused.value.hint == f"build {image.name} again, or {anew}"
    assert snapshots.prune() == []
    (removed,) = snapshots.prune(unusable=True)
    assert removed.name == "here"
    assert snapshots.STORE.installed() == []

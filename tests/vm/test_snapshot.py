"""Tests of snapshots of running machines, and of machines that are forked from them."""

from __future__ import annotations

import asyncio
import fcntl
import itertools
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from tests.support.parameters import accelerator
from tests.support.processes import children, open_files
from tests.vm.conftest import Misbehave

from microvm import (
    BootError,
    Busy,
    MicroVM,
    Pool,
    QemuError,
    Snapshot,
    SnapshotError,
    UsageError,
)
from microvm.images import Image
from microvm.qemu import migration
from microvm.start import snapshots

MEMORY = "96M"

# A process that outlives its command, and numbers its answers.
WAITER = """
mkfifo /run/question /run/answer
n=0
while read word </run/question; do n=$((n + 1)); echo "$word $n" >/run/answer; done
"""


def _machine(image: Image, **options: Any) -> MicroVM:
    return MicroVM(image, memory=MEMORY, accel=accelerator(), **options)


async def _leave(vm: MicroVM) -> None:
    """Start a process in a machine that outlives its command."""
    await vm.run(["sh", "-c", f"({WAITER}) >/dev/null 2>&1 </dev/null &"], check=True)


async def _ask(vm: MicroVM, word: str) -> str:
    asked = f"until [ -p /run/answer ]; do sleep 0.05; done; echo {word} >/run/question"
    done = await vm.run(["sh", "-c", f"{asked}; cat /run/answer"], text=True, timeout=30)
    return done.stdout.strip()


async def _output(vm: MicroVM, command: str) -> str:
    return (await vm.run(["sh", "-c", command], text=True, check=True)).stdout.strip()


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def prepared(image: Image) -> AsyncIterator[MicroVM]:
    """A machine with a waiting process and a file. Each test leaves both as they are."""
    async with _machine(image) as vm:
        await vm.run(["sh", "-c", "echo kept >/root/file"], check=True)
        await _leave(vm)
        assert await _ask(vm, "first") == "first 1"
        yield vm


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def snapshot(prepared: MicroVM) -> AsyncIterator[Snapshot]:
    async with await prepared.checkpoint() as taken:
        yield taken


@pytest.mark.thorough
async def test_processes_and_files_live_on_in_each_machine(
    prepared: MicroVM, snapshot: Snapshot
) -> None:
    async with MicroVM(snapshot) as one, MicroVM(snapshot) as other:
        for vm in (one, other):
            assert vm.cloned
            assert await _output(vm, "cat /root/file") == "kept"
            assert await _ask(vm, "again") == "again 2"
        assert await _ask(one, "more") == "more 3"
        await one.run(["rm", "/root/file"], check=True)
        assert await _output(other, "cat /root/file") == "kept"
    assert await _output(prepared, "cat /root/file") == "kept"


@pytest.mark.thorough
async def test_machine_continues_after_its_snapshot(image: Image) -> None:
    async with _machine(image) as vm:
        await _leave(vm)
        assert vm.pid
        before = open_files(vm.pid)
        for number in range(1, 4):
            (await vm.checkpoint()).close()
            assert await _ask(vm, "well?") == f"well? {number}"
            assert open_files(vm.pid) == before


async def test_random_numbers_of_forks_differ(snapshot: Snapshot) -> None:
    ids = "cat /proc/sys/kernel/random/boot_id; head -c 16 /dev/urandom | od -An -tx1"
    async with MicroVM(snapshot) as one, MicroVM(snapshot) as other:
        assert (
            len({*(await _output(one, ids)).split("\n"), *(await _output(other, ids)).split("\n")})
            == 4
        )


@pytest.mark.thorough
async def test_running_processes_of_forks_draw_different_numbers(image: Image) -> None:
    now = "{ read -r _; read -r _; read -r _ _ now _; } </proc/timer_list"  # in nanoseconds
    draw = "read -r life </run/microvm/boot_id; read -r number </proc/sys/kernel/random/uuid"
    loop = f"while :; do {now}; {draw}; echo $now $life $number; done"
    more = "n=$(wc -l <$f); until [ $(wc -l <$f) -gt $((n + 20)) ]; do sleep 0.05; done"
    more = f"for f in /run/drawn1 /run/drawn2; do {more}; done"
    async with _machine(image, cpus=2) as vm:
        for number in (1, 2):
            left = f"({loop}) >/run/drawn{number} 2>/dev/null </dev/null &"
            await vm.run(["sh", "-c", left], check=True)
        await _output(vm, more)
        async with await vm.fork(2) as forks:
            lines = []
            for each in (vm, *forks):
                await _output(each, more)
                texts = [await each.read_file(f"/run/drawn{number}") for number in (1, 2)]
                lines.append([tuple(line.split()) for text in texts for line in text.splitlines()])
    for some, others in itertools.combinations(lines, 2):
        drawn = {number: (now, life) for now, life, number in some}
        # Lines from before the checkpoint are equal in all forks: one process wrote them once.
        assert all(drawn.get(number, (now, life)) == (now, life) for now, life, number in others)
    source, *clones = map(set, lines)
    for clone in clones:
        lives = {life for _, life, _ in source}
        # The checkpoint may freeze both loops between two writes.
        assert len({line for line in clone if line[1] in lives} - source) <= 2
        assert {life for _, life, _ in clone} > lives


@pytest.mark.thorough
async def test_qemu_without_file_migration_saves_by_descriptors(
    image: Image, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Like QEMU 8.1 and older versions.
    monkeypatch.setattr(migration, "FILE_MIGRATION", (99, 0))
    monkeypatch.setattr(migration, "MAPPED_RAM", (99, 0))
    async with _machine(image) as vm:
        await _leave(vm)
        kept = await vm.checkpoint("here")
    for number in range(1, 3):
        async with MicroVM(kept) as clone:
            assert await _ask(clone, "old") == f"old {number}"
            async with await clone.checkpoint() as unnamed, MicroVM(unnamed) as other:
                assert await _ask(other, "older") == f"older {number + 1}"
            kept = await clone.checkpoint("there")


@pytest.mark.thorough
async def test_scratch_disk_of_a_snapshot_is_restored(image: Image) -> None:
    async with _machine(image, disk="256M") as vm:
        await vm.run(["sh", "-c", "echo before >/root/file"], check=True)
        async with await vm.checkpoint() as taken:
            await vm.run(["sh", "-c", "echo after >/root/file; sync"], check=True)
            for _ in range(2):
                async with MicroVM(taken) as clone:
                    assert await _output(clone, "cat /root/file") == "before"
                    await clone.run(["sh", "-c", "echo other >/root/file; sync"], check=True)
        assert await _output(vm, "cat /root/file") == "after"


@pytest.mark.thorough
async def test_command_and_checkpoint_exclude_each_other(image: Image) -> None:
    async with _machine(image) as vm:
        async with await vm.exec(["cat"]) as process:
            with pytest.raises(Busy):
                await vm.checkpoint()
            process.kill()
        taking = asyncio.create_task(vm.checkpoint())
        await asyncio.sleep(0)
        with pytest.raises(Busy, match="while a checkpoint of it is taken"):
            await vm.run(["true"])
        with pytest.raises(Busy, match="while a checkpoint of it is taken"):
            await vm.checkpoint()
        await vm.ping()  # this process waits
        (await taking).close()
        await vm.run(["true"], check=True)


async def test_machine_of_a_snapshot_has_its_own_settings(image: Image, snapshot: Snapshot) -> None:
    shape = (snapshot.image, snapshot.accel, snapshot.memory, snapshot.cpus, snapshot.disk)
    assert shape == (image.name, accelerator(), 96 << 20, 1, 0)
    assert snapshot.name is None
    MicroVM(snapshot, memory="96M", cpus=1, disk=0, accel="auto")
    other = "kvm" if accelerator() == "tcg" else "tcg"
    for wrong in ({"memory": "1G"}, {"cpus": 2}, {"disk": "1G"}, {"accel": other}, {"cold": True}):
        (name,) = wrong
        with pytest.raises(UsageError, match=f"^{name}: "):
            MicroVM(snapshot, **wrong)


async def test_unnamed_snapshot_is_removed_when_closed(image: Image) -> None:
    async with _machine(image) as vm:
        before = open_files(os.getpid())
        taken = await vm.checkpoint()
        async with MicroVM(taken) as clone:
            taken.close()
            taken.close()
            assert await _output(clone, "echo on") == "on"
        assert open_files(os.getpid()) == before
        with pytest.raises(UsageError, match="the snapshot is closed"):
            await MicroVM(taken).start()


async def test_open_files_of_a_closed_snapshot_can_be_read(prepared: MicroVM) -> None:
    taken = await prepared.checkpoint()
    starting = MicroVM(taken)
    with taken._open() as memory:
        taken.close()
        with (Path("/proc/self/fd") / str(memory.ram)).open("rb") as ram:
            assert ram.read(1)
    with pytest.raises(UsageError, match="the snapshot is closed"):
        await starting.start()


async def test_shared_files_of_clones_cannot_be_written(snapshot: Snapshot) -> None:
    async with MicroVM(snapshot) as clone:
        assert clone.pid
        files = open_files(clone.pid)
        ram = min(number for number, name in files.items() if "microvm-ram" in name)
        descriptor = os.open(f"/proc/{clone.pid}/fd/{ram}", os.O_RDONLY)
        try:
            seals = fcntl.fcntl(descriptor, fcntl.F_GET_SEALS)
        finally:
            os.close(descriptor)
    assert seals & fcntl.F_SEAL_WRITE
    assert seals & fcntl.F_SEAL_SEAL


async def test_fork_returns_running_machines(prepared: MicroVM) -> None:
    before = set(children(os.getpid()))
    async with await prepared.fork(3) as forks:
        assert len(set(children(os.getpid())) - before) == len(forks) == 3
        answers = await asyncio.gather(*(_ask(fork, str(n)) for n, fork in enumerate(forks)))
        assert answers == ["0 2", "1 2", "2 2"]
    assert set(children(os.getpid())) == before


@pytest.mark.thorough
async def test_failed_fork_ends_the_other_forks(image: Image, misbehave: Misbehave) -> None:
    async with _machine(image, confinement="off") as vm:
        # The first clone creates the folder; later ones find it.
        misbehave('clones && ! saves && ! mkdir "${0%/*}/first" && exit 1')
        before = set(children(os.getpid()))
        with pytest.raises((QemuError, BootError)):
            await vm.fork(3)
        assert set(children(os.getpid())) == before
        assert await _output(vm, "echo well") == "well"


async def test_pool_of_machines_from_a_snapshot(snapshot: Snapshot) -> None:
    async with Pool(2, snapshot) as pool:
        outcomes = [each async for each in pool.map([["cat", "/root/file"]] * 3)]
    assert [each.result().stdout for each in outcomes] == [b"kept\n"] * 3


@pytest.mark.thorough
@pytest.mark.parametrize("files", [migration.MAPPED_RAM, (99, 0)])
async def test_guest_that_stops_too_early_is_saved_again(
    image: Image, monkeypatch: pytest.MonkeyPatch, files: tuple[int, int]
) -> None:
    monkeypatch.setattr(migration, "MAPPED_RAM", files)
    monkeypatch.setattr(migration, "_LATE", -1)
    async with _machine(image, disk="64M") as vm:
        await _leave(vm)
        async with await vm.checkpoint() as taken, MicroVM(taken) as clone:
            assert await _ask(clone, "clone") == "clone 1"
        assert await _ask(vm, "source") == "source 1"


@pytest.mark.usefixtures("cache")
async def test_named_snapshots_are_found_replaced_and_removed(prepared: MicroVM) -> None:
    with pytest.raises(SnapshotError, match="no snapshot here"):
        Snapshot.find("here")
    for text in ("one", "other"):
        await prepared.run(["sh", "-c", f"echo {text} >/root/name"], check=True)
        kept = await prepared.checkpoint("here")
        assert (kept.name, Snapshot.find("here").name) == ("here", "here")
        kept.close()
        async with MicroVM(Snapshot.find("here")) as clone:
            assert await _output(clone, "cat /root/name") == text
    with pytest.raises(SnapshotError, match="not the name"):
        await prepared.checkpoint("../there")
    found = Snapshot.find("here")
    async with MicroVM(found) as clone:
        snapshots.STORE.remove("here")
        assert await _output(clone, "cat /root/name") == "other"
    with pytest.raises(SnapshotError, match="no snapshot here"):
        await MicroVM(found).start()
    assert snapshots.STORE.installed() == []

"""Tests of several commands at once in a machine of this process."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from tests.support.polling import DEADLINE
from tests.vm.conftest import processes

from microvm import Busy, ExecTimeout, MicroVM, Process
from microvm.images import Image

MIB = 1 << 20
ENDLESS = ["sh", "-c", "echo; exec sleep 600"]


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def sixteen(image: Image) -> AsyncIterator[MicroVM]:
    """A machine that runs up to 16 commands at once."""
    async with MicroVM(image, commands=16) as vm:
        yield vm


async def running(vm: MicroVM) -> Process:
    """Start a command that runs until it is killed."""
    process = await vm.exec(ENDLESS)
    await process.stdout.readline()
    return process


@pytest.mark.thorough
async def test_tasks_run_commands_at_once(sixteen: MicroVM) -> None:
    async def meet(number: int) -> bytes:
        # Each command waits until all 16 have started, so they must run at once.
        await sixteen.run(["mkdir", "-p", f"/tmp/meeting/{number}"], check=True)
        wait = "while [ $(ls /tmp/meeting | wc -l) -lt 16 ]; do sleep 0.05; done; cat; echo $0"
        done = await sixteen.run(["sh", "-c", wait, str(number)], input=bytes(70_000), timeout=60)
        assert done.stdout[:70_000] == bytes(70_000)
        return done.stdout[70_000:]

    results = await asyncio.gather(*[meet(number) for number in range(16)])
    assert results == [b"%d\n" % number for number in range(16)]


async def test_the_command_beyond_the_number_is_busy(sixteen: MicroVM) -> None:
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(16):
            await stack.enter_async_context(await sixteen.exec(["sleep", "600"]))
        with pytest.raises(Busy, match=r"runs 16 commands, the most .*commands=N"):
            await sixteen.run(["true"])
        with pytest.raises(Busy):
            await sixteen.checkpoint()
        await sixteen.ping()
    assert (await sixteen.run(["true"])).returncode == 0


async def test_a_cancelled_or_dropped_command_harms_no_other(sixteen: MicroVM) -> None:
    async with await running(sixteen) as kept:
        cancelled = asyncio.create_task(sixteen.run(["sleep", "300.61"]))
        await until(sixteen, "300.61", exists=True)
        cancelled.cancel()
        await asyncio.wait([cancelled])
        dropped = await sixteen.exec(["sleep", "300.62"])
        del dropped
        with pytest.raises(ExecTimeout):
            await sixteen.run(["sleep", "300.63"], timeout=0.1)
        for name in ("300.61", "300.62", "300.63"):
            await until(sixteen, name, exists=False)
        assert kept.returncode is None
        assert await processes(sixteen, "sleep 600")


async def until(vm: MicroVM, name: str, *, exists: bool) -> None:
    """Wait until a process exists in the guest, or no longer exists."""
    async with asyncio.timeout(DEADLINE):
        while bool(await processes(vm, f"sleep {name}")) is not exists:
            pass


@pytest.mark.thorough
async def test_files_beside_a_running_command(image: Image, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder/file").write_bytes(bytes(3 * MIB))
    async with MicroVM(image, commands=2) as vm, await running(vm) as process:
        await vm.write_file("/tmp/written", b"text")
        assert await vm.read_file("/tmp/written") == b"text"
        await vm.put(tmp_path / "folder", "/tmp/put")
        await vm.get("/tmp/put/file", tmp_path / "got")
        assert (tmp_path / "got").read_bytes() == bytes(3 * MIB)
        assert [status.name for status in await vm.list("/tmp/put")] == ["file"]
        copying = asyncio.create_task(vm.read_file("/proc/kmsg", timeout=30))
        with pytest.raises(Busy, match=r"runs 2 commands \("):
            await asyncio.gather(*[vm.stat("/tmp/written") for _ in range(2)])
        copying.cancel()
        await asyncio.wait([copying])
        assert process.returncode is None


async def test_forks_run_as_many_commands(sixteen: MicroVM) -> None:
    async with await sixteen.fork(1) as forks:
        (fork,) = forks
        assert fork.commands == 16
        async with await running(fork), await running(fork):
            assert (await fork.run(["echo", "third"])).stdout == b"third\n"

"""Tests of a pool of real machines."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator
from random import Random
from typing import Any

import pytest
import pytest_asyncio
from tests.support.killing import KilledStarts
from tests.support.polling import comes_true
from tests.support.processes import children

from microvm import ConfinementError, GuestDied, MicroVM, NotRun, Pool
from microvm.images import Image
from microvm.qemu import launch
from microvm.qemu.confinement import launcher_options
from microvm.start import starter


@pytest.fixture(scope="module")
def others(vm: MicroVM) -> list[int]:
    """Child processes from before the pool started, such as the machines of other tests."""
    return children(os.getpid())


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def pool(image: Image, others: list[int]) -> AsyncIterator[Pool]:
    """A pool of two machines, none of which may remain afterwards."""
    async with Pool(2, image=image) as pool:
        yield pool
    assert children(os.getpid()) == others


async def _full(pool: Pool) -> None:
    await comes_true(lambda: pool.ready == pool.size)


async def test_machines_run_the_warmup_commands_first(pool: Pool, image: Image) -> None:
    async with pool.machine() as warm, MicroVM(image) as other:
        pids = [int((await vm.run(["sh", "-c", "echo $$"])).stdout) for vm in (warm, other)]
    assert pids[0] > pids[1]


async def test_machine_killed_while_idle_is_not_handed_out(pool: Pool, others: list[int]) -> None:
    await _full(pool)
    idle = set(children(os.getpid())) - set(others)
    assert len(idle) == 2
    for pid in idle:
        os.kill(pid, signal.SIGKILL)
    async with pool.machine() as machine:
        assert machine.pid not in idle
        assert (await machine.run(["echo", "hello"])).stdout == b"hello\n"


async def test_pool_replaces_a_machine_that_is_killed_in_use(pool: Pool) -> None:
    async def use(*, kill: bool) -> None:
        async with pool.machine() as machine:
            process = await machine.exec(["sh", "-c", "echo started; sleep 0.1"])
            assert await anext(process.stdout) == b"started\n"
            if kill:
                os.kill(machine.pid or 0, signal.SIGKILL)
            assert await process.wait() == 0

    with pytest.raises(GuestDied, match="SIGKILL"):
        await use(kill=True)
    await use(kill=False)
    await _full(pool)


async def test_machines_killed_as_they_start_do_not_end_a_batch(
    image: Image, vm: MicroVM, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Two clones, and the two boots that replace them.
    killed = KilledStarts(monkeypatch, starter, 4)
    async with Pool(1, image) as pool, pool.machine() as machine:
        assert killed.left == 0
        assert machine.cloned  # a killed clone does not make the template unusable
        assert (await machine.run(["echo", "hello"])).stdout == b"hello\n"


async def _use(image: Image) -> None:
    async with Pool(2, image=image) as pool:
        async with pool.machine() as machine:
            await machine.run(["echo", "hello"])
        async for outcome in pool.map([["true"]] * 4, ordered=False):
            outcome.result()
        raise ZeroDivisionError


@pytest.mark.thorough
@pytest.mark.parametrize("seed", range(3))
async def test_a_cancellation_at_any_moment_leaves_no_machine(image: Image, seed: int) -> None:
    before, tasks = children(os.getpid()), asyncio.all_tasks()
    delay = 0.0 if seed == 0 else Random(seed).expovariate(2)
    task = asyncio.create_task(_use(image))
    await asyncio.wait([task], timeout=delay)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError, ZeroDivisionError):
        await task
    assert children(os.getpid()) == before
    assert asyncio.all_tasks() == tasks


async def test_missing_confinement_ends_a_batch_at_once(
    image: Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    def without(*args: Any, **more: Any) -> list[str]:
        return [*launcher_options(*args, **more), "--without", "seccomp"]

    before = children(os.getpid())
    monkeypatch.setattr(launch, "launcher_options", without)
    async with Pool(2, image, confinement="require") as pool:
        with pytest.raises(NotRun, match=r"no seccomp \(disabled\)") as caught:
            (await anext(pool.map([["true"]] * 3))).result()
        assert isinstance(caught.value.reason, ConfinementError)
    assert children(os.getpid()) == before

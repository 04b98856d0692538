"""Tests of how a client waits for a machine of a named pool; see tests/vm/test_named_pool.py."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from itertools import repeat

import pytest

from microvm.concurrency.tasks import cancel
from microvm.errors import Busy
from microvm.jobs.lease import Lease
from microvm.jobs.stock import Stock
from microvm.supervisor import pool
from microvm.supervisor.pool import PoolSupervisor
from microvm.supervisor.runtime_directory import RuntimeDirectory


class FakePool(PoolSupervisor):
    """The supervisor of a pool of fake machines, which have no image that could change."""

    def _outdated(self, lease: Lease | None = None) -> str:
        del lease
        return ""


class StartingMachine(Lease):
    """A fake machine, whose start lasts until `started` is done."""

    def __init__(self, started: asyncio.Future[None]) -> None:
        super().__init__()
        self._started = started

    async def start(self, is_wanted: Callable[[], bool]) -> None:
        del is_wanted
        await asyncio.shield(self._started)

    async def ping(self) -> None:
        pass

    async def wait_lost(self) -> None:
        await asyncio.Event().wait()

    async def stop(self) -> None:
        pass


@asynccontextmanager
async def supervisor(
    runtime: RuntimeDirectory, starts: Iterator[asyncio.Future[None]]
) -> AsyncIterator[PoolSupervisor]:
    """The supervisor of a pool whose description is not written yet."""
    with runtime.create("one") as directory:
        made = FakePool(runtime, directory)
        made._stock = Stock(lambda: StartingMachine(next(starts)), 1, lambda _: None, spare=1)
        made._stock.open()
        try:
            yield made
        finally:
            await made._stock.close()
            made._listener.close()


async def test_a_client_waits_a_limited_time(
    runtime: RuntimeDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "_LONGEST_WAIT", 0.05)
    started = asyncio.get_running_loop().create_future()
    async with supervisor(runtime, repeat(started)) as made:
        with pytest.raises(Busy, match="pool one is only just being started"):
            await made._take()
        made.facts["pool"] = {}
        client = asyncio.create_task(made._take())
        await asyncio.sleep(0)  # let the client begin to wait
        with pytest.raises(Busy, match="pool one has no machine ready"):
            await made._take()  # another client waits for the only machine that starts
        with pytest.raises(Busy, match=r"pool one has started no machine in 0\.05 s"):
            await client
        started.set_result(None)
        await made._stock.wait_ready()
        assert isinstance(await made._take(), StartingMachine)


async def test_a_client_learns_why_no_machine_starts(runtime: RuntimeDirectory) -> None:
    started = asyncio.get_running_loop().create_future()
    async with supervisor(runtime, repeat(started)) as made:
        made.facts["pool"] = {}
        client = asyncio.create_task(made._take())
        await asyncio.sleep(0)  # let the client begin to wait
        started.set_exception(RuntimeError("it broke"))
        with pytest.raises(Busy, match="pool one has started no machine: RuntimeError"):
            await client
        with pytest.raises(Busy, match="pool one could not start a machine: RuntimeError"):
            await made._take()


async def test_a_pool_that_gave_up_tries_again(
    runtime: RuntimeDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "_CHECK_INTERVAL", 0.01)
    monkeypatch.setattr(pool, "_RETRY_INTERVAL", 0.05)
    failed, started = (asyncio.get_running_loop().create_future() for _ in range(2))
    failed.set_exception(RuntimeError("the disk is full"))
    started.set_result(None)
    starts = iter((failed, started))
    async with supervisor(runtime, starts) as made:
        watch = asyncio.create_task(made._watch_load())
        try:
            with pytest.raises(RuntimeError, match="the disk is full"):
                await made._stock.wait_ready()
            async with asyncio.timeout(10):
                await made._stock.wait_ready()  # though no client asks for a machine
        finally:
            await cancel([watch])

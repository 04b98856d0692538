"""Tests of the queue of commands for a guest: each is refused or runs in order."""

from __future__ import annotations

import asyncio
import time

import pytest

from microvm.errors import Busy
from microvm.supervisor import clock
from microvm.supervisor.queue import CommandQueue


async def _settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_a_busy_machine_tells_its_use() -> None:
    turns = CommandQueue("one")
    async with turns.turn("make all", wait=False):
        with pytest.raises(Busy, match="machine one is busy: make all"):
            async with turns.turn("second", wait=False):
                pass
    assert turns.runs == ""


async def test_waiting_requests_run_in_order() -> None:
    turns = CommandQueue("one")
    had = []

    async def take(name: str) -> None:
        async with turns.turn(name, wait=True):
            had.append(turns.runs)
            await asyncio.sleep(0)

    async with turns.turn("first", wait=False):
        tasks = [asyncio.create_task(take(name)) for name in "abc"]
        await _settle()
        assert turns.length == 3
    with pytest.raises(Busy):  # the waiting client is next
        async with turns.turn("late", wait=False):
            pass
    await asyncio.gather(*tasks)
    assert had == ["a", "b", "c"]
    assert turns.runs == ""


@pytest.mark.parametrize("when", ["before", "at"])
async def test_the_turn_of_a_cancelled_request_is_passed_on(when: str) -> None:
    turns = CommandQueue("one")
    had = asyncio.Event()

    async def take() -> None:
        async with turns.turn("b", wait=True):
            had.set()

    async with turns.turn("first", wait=False):
        gone = asyncio.create_task(_take(turns))
        await _settle()
        after = asyncio.create_task(take())
        await _settle()
        if when == "before":
            gone.cancel()
            await _settle()
    gone.cancel()
    await had.wait()
    await after
    assert turns.runs == ""
    assert turns.length == 0


async def _take(turns: CommandQueue) -> None:
    async with turns.turn("a", wait=True):
        pass


async def test_a_machine_without_requests_is_unused() -> None:
    turns = CommandQueue("one")
    async with turns.turn("first", wait=False):
        idle = asyncio.create_task(turns.wait_unused(0.001))
        await asyncio.sleep(0.01)
        assert not idle.done()
    await idle


async def test_the_sleep_of_the_host_counts_as_unused_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock, "MAX_SLEEP", 0.001)
    turns = CommandQueue("one")
    idle = asyncio.create_task(turns.wait_unused(1e9))
    old = asyncio.create_task(clock.sleep(1e9))
    await _settle()
    assert not idle.done()
    assert not old.done()
    awake = clock.now
    monkeypatch.setattr(clock, "now", lambda: awake() + 1e9)
    async with asyncio.timeout(60):
        await asyncio.gather(idle, old)


async def test_the_clock_continues_while_the_host_sleeps() -> None:
    assert abs(clock.now() - time.clock_gettime(time.CLOCK_BOOTTIME)) < 60


async def test_a_short_turn_restarts_the_unused_time(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(clock, "now", lambda: now)
    monkeypatch.setattr(clock, "MAX_SLEEP", 0.001)
    turns = CommandQueue("one")
    idle = asyncio.create_task(turns.wait_unused(10))
    await _settle()
    now = 9.0
    async with turns.turn("true", wait=False):
        pass
    await _settle()
    now = 18.0  # the old end is over, the new one is not
    await asyncio.sleep(0.02)
    assert not idle.done()
    now = 20.0
    async with asyncio.timeout(60):
        await idle

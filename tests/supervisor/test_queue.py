"""Tests of the queue of commands for a guest: each is refused or runs in order."""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from microvm.constants import MAX_COMMANDS
from microvm.errors import Busy
from microvm.supervisor import clock
from microvm.supervisor.queue import CommandQueue


async def _settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_waiting_requests_run_in_order() -> None:
    turns = CommandQueue("one")
    had = []

    async def take(name: str) -> None:
        async with turns.turn(name, wait=True):
            had.extend(turns.runs)
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
    assert turns.runs == []


async def test_connections_are_a_use_without_a_slot() -> None:
    turns = CommandQueue("one")
    async with turns.connected(), turns.connected():
        async with turns.turn("command", wait=False):
            assert turns.runs == ["connections to its ports", "command"]
            with pytest.raises(Busy):
                async with turns.turn("second", wait=False):
                    pass
        with pytest.raises(Busy, match="machine one is busy: connections to its ports"):
            async with turns.turn("checkpoint", wait=False, alone=True):
                pass
    async with turns.turn("checkpoint", wait=False, alone=True):
        pass


async def test_a_connection_waits_for_an_operation_that_is_alone() -> None:
    turns = CommandQueue("one")
    async with AsyncExitStack() as connections:
        async with turns.turn("first", wait=False, alone=True):
            second = asyncio.create_task(_take(turns, "second", alone=True))
            tasks = [
                asyncio.create_task(connections.enter_async_context(turns.connected()))
                for _ in range(2)
            ]
            await _settle()
            assert turns.runs == ["first"]
        await second
        await asyncio.gather(*tasks)
        assert turns.runs == ["connections to its ports"]
    assert turns.runs == []


async def test_waiting_operation_begins_despite_new_clients() -> None:
    turns = CommandQueue("one")
    first = AsyncExitStack()
    await first.enter_async_context(turns.connected())
    operation = asyncio.create_task(_take(turns, "checkpoint", alone=True))
    await _settle()
    async with AsyncExitStack() as second:
        next_client = asyncio.create_task(second.enter_async_context(turns.connected()))
        await _settle()
        await first.aclose()
        assert turns.runs == ["checkpoint"]
        await operation
        await next_client
        assert turns.runs == ["connections to its ports"]


@pytest.mark.thorough
async def test_new_client_connects_beside_a_long_connection() -> None:
    turns = CommandQueue("one")
    async with turns.connected():
        operation = asyncio.create_task(_take(turns, "checkpoint", alone=True))
        await _settle()
        async with turns.connected():
            assert turns.runs == ["connections to its ports"]
            assert turns.length == 1
    await operation


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
    assert turns.runs == []
    assert turns.length == 0


async def _take(
    turns: CommandQueue, name: str = "a", *, wait: bool = True, alone: bool = False
) -> None:
    async with turns.turn(name, wait=wait, alone=alone):
        pass


async def test_each_command_takes_one_slot() -> None:
    turns = CommandQueue("one", 2)
    async with turns.turn("first", wait=False):
        async with turns.turn("second", wait=False) as second:
            second.number = 7
            assert turns.runs == ["first", "7: second"]
            with pytest.raises(Busy, match="machine one is busy: first; 7: second ") as refused:
                async with turns.turn("third", wait=False):
                    pass
            third = asyncio.create_task(_take(turns, "third"))
            await _settle()
            assert turns.length == 1
        await third
        assert turns.runs == ["first"]
    assert "`microvm kill one ID` ends it; --wait, " in refused.value.hint
    assert "`microvm update one --commands N` permits more than 2 at once" in refused.value.hint


async def test_more_slots_start_requests_that_wait() -> None:
    turns = CommandQueue("one")
    async with turns.turn("first", wait=False):
        second = asyncio.create_task(_take(turns, "second"))
        await _settle()
        assert turns.length == 1
        turns.permit(2)
        await second
        turns.permit(1)
        with pytest.raises(Busy, match="is busy: first "):
            await _take(turns, "third", wait=False)


async def test_error_of_a_full_machine_is_short() -> None:
    turns = CommandQueue("one", MAX_COMMANDS)
    async with AsyncExitStack() as running:
        for number in range(MAX_COMMANDS):
            await running.enter_async_context(turns.turn(f"command {number}", wait=False))
        with pytest.raises(Busy) as refused:
            await _take(turns, "late", wait=False)
    assert refused.value.message == (
        "machine one is busy: command 0; command 1; command 2; 61 more"
    )
    assert refused.value.hint == "--wait, or wait=True, waits for its turn"


async def test_a_checkpoint_takes_all_slots() -> None:
    turns = CommandQueue("one", 3)
    begun = asyncio.Event()
    end = asyncio.Event()

    async def checkpoint() -> None:
        async with turns.turn("a checkpoint", wait=True, alone=True):
            begun.set()
            await end.wait()

    async with turns.turn("first", wait=False):
        with pytest.raises(Busy, match="is busy: first") as refused:
            await _take(turns, "a checkpoint", wait=False, alone=True)
        assert "--commands" not in refused.value.hint
        waiting = asyncio.create_task(checkpoint())
        await _settle()
        with pytest.raises(Busy, match="is busy: first; 1 waiting "):  # it must wait, too
            await _take(turns, "late", wait=False)
        later = [asyncio.create_task(_take(turns, name)) for name in "ab"]
        await _settle()
        assert turns.length == 3
        assert not begun.is_set()
    await begun.wait()
    assert (turns.runs, turns.length) == (["a checkpoint"], 2)
    with pytest.raises(Busy, match="is busy: a checkpoint ") as refused:
        await _take(turns, "late", wait=False)
    assert "--commands" not in refused.value.hint
    end.set()
    await asyncio.gather(waiting, *later)
    assert (turns.runs, turns.length) == ([], 0)


@given(
    slots=st.integers(1, 3),
    steps=st.lists(st.tuples(st.sampled_from(["begin", "alone", "leave"]), st.integers(0, 9))),
)
def test_no_request_overtakes_or_starves(slots: int, steps: list[tuple[str, int]]) -> None:
    """The step `leave` ends a request that uses the guest, or cancels one that waits."""

    async def run() -> None:
        turns = CommandQueue("one", slots)
        asked: list[tuple[asyncio.Task[None], asyncio.Event, str]] = []

        async def take(end: asyncio.Event, name: str) -> None:
            async with turns.turn(name, wait=True, alone=name.startswith("alone")):
                await end.wait()

        for number, (step, which) in enumerate([*steps, *[("leave", 0)] * len(steps)]):
            if step != "leave":
                end, name = asyncio.Event(), f"{step} {number}"
                asked.append((asyncio.create_task(take(end, name)), end, name))
            elif asked:
                task, end, name = asked.pop(which % len(asked))
                end.set() if name in turns.runs else task.cancel()
            await _settle()
            _check(turns, [name for _, _, name in asked])
        assert not turns.uses

    asyncio.run(run())


def _check(turns: CommandQueue, asked: list[str]) -> None:
    """Check which requests use the guest. `asked` is a list of all, in the order of arrival."""
    runs = turns.runs
    assert runs == asked[: len(runs)]
    assert turns.length == len(asked) - len(runs)
    assert len(runs) <= turns.slots
    assert len(runs) == 1 or not any(name.startswith("alone") for name in runs)
    if waiting := asked[len(runs) :]:
        alone = [name.startswith("alone") for name in (*runs, waiting[0])]
        assert len(runs) == turns.slots or any(alone)
        assert runs


async def test_a_machine_without_requests_is_unused() -> None:
    turns = CommandQueue("one", 2)
    async with turns.turn("first", wait=False):
        async with turns.turn("second", wait=False):
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

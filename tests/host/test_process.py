"""Tests of a process in a guest: signals, its end, and a process that is not awaited."""

from __future__ import annotations

import asyncio
import gc
import re
import weakref
from collections.abc import Callable
from signal import SIGKILL, SIGTERM

import pytest
from tests.support.peer import SOON, Peer, greeted

from microvm.errors import Busy, StartError
from microvm.guest.guest import Guest
from microvm.guest.process import Process
from microvm.guest.run import run
from microvm.wire import codec
from microvm.wire.codec import Ending, Stage, Stream


async def test_signals_are_sent_only_while_the_command_runs(guest: Guest, peer: Peer) -> None:
    process = await peer.started(guest.exec(["sleep", "1"]))
    process.terminate()
    assert await peer.hear() == codec.ExecSignal(1, SIGTERM)
    process.kill()
    assert await peer.hear() == codec.ExecKill(1)
    await peer.exit(SIGKILL, Ending.SIGNALLED)
    assert await process.wait() == -SIGKILL
    process.terminate()
    process.kill()
    assert await peer.hears_nothing()


async def test_an_exited_process_does_not_signal_the_next_command(guest: Guest, peer: Peer) -> None:
    first = await peer.started(guest.exec(["true"]))
    await peer.exit(0)
    await first.wait()
    second = await peer.started(guest.exec(["sleep", "1"]))
    first.kill()
    first.terminate()
    first.abandon()
    del first
    assert await peer.hears_nothing()
    assert second.returncode is None


async def test_cancelled_wait_or_read_leaves_the_command_running(guest: Guest, peer: Peer) -> None:
    process = await peer.started(guest.exec(["sleep", "60"]))
    for waiting in (process.wait(), process.stdout.read()):
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(waiting, SOON)
    assert await peer.hears_nothing()


async def test_leaving_the_block_kills_and_waits_for_the_exit(guest: Guest, peer: Peer) -> None:
    async def script() -> None:
        await peer.expect(codec.ExecRequest)
        await peer.write(Stream.STDOUT, b"one")
        assert await peer.expect(codec.ExecKill)
        await peer.exit(SIGKILL, Ending.SIGNALLED)

    async def leave() -> None:
        async with guest.exec(["yes"]) as process:
            assert await anext(process.stdout) == b"one"
        assert process.returncode == -SIGKILL

    await asyncio.gather(leave(), script())


async def test_the_name_of_a_command_is_safe_to_print(guest: Guest, peer: Peer) -> None:
    process = await peer.started(guest.exec([b"\x1b[31m\xff"]))
    await peer.say(codec.ExecFailed(1, Stage.LOOKUP, 2))
    with pytest.raises(StartError, match=re.escape(r"\x1b[31m\xff: not found")):
        await process.wait()


@pytest.mark.parametrize(
    "keep",
    [lambda _: None, lambda p: p, lambda p: p.stdout, lambda p: p.stderr, lambda p: p.stdout.read],
    ids=["nothing", "itself", "stdout", "stderr", "read"],
)
async def test_dropped_process_is_killed(
    guest: Guest, peer: Peer, keep: Callable[[Process], object]
) -> None:
    kept = keep(guest.exec(["yes"]))
    await peer.expect(codec.ExecRequest)
    if kept is not None:
        assert await peer.hears_nothing()
    del kept
    await peer.is_killed()
    with pytest.raises(Busy):  # the process still exists
        guest.exec(["true"])
    await peer.exit(9, Ending.SIGNALLED)
    async with guest.idle():
        pass
    assert guest.exec(["true"]).returncode is None


async def test_process_held_only_by_an_error_is_not_in_use(guest: Guest, peer: Peer) -> None:
    async def work() -> None:
        process = guest.exec(["sleep", "60"])
        await process.wait()

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(SOON):
            await work()
    following = asyncio.create_task(_next(peer))
    await run(guest, ["true"])
    await following


@pytest.mark.thorough
async def test_process_held_only_by_a_cycle_is_not_in_use(guest: Guest, peer: Peer) -> None:
    gc.disable()
    try:
        cycle: list[object] = [guest.exec(["sleep", "60"])]
        cycle.append(cycle)
        del cycle
        following = asyncio.create_task(_next(peer))
        await run(guest, ["true"])
        await following
    finally:
        gc.enable()


async def _next(peer: Peer) -> None:
    """Simulate the guest: one command is killed, and the next one succeeds."""
    await peer.expect(codec.ExecRequest)
    await peer.is_killed()
    await peer.exit(9, Ending.SIGNALLED)
    await peer.expect(codec.ExecRequest)
    await peer.exit(0)


def test_a_process_can_be_dropped_when_its_loop_is_closed() -> None:
    async def left() -> object:
        async with greeted() as (guest, peer):
            return await peer.started(guest.exec(["sleep", "60"]))

    process = asyncio.run(left())
    del process


async def test_failed_command_is_not_kept_alive(guest: Guest, peer: Peer) -> None:
    """The traceback of the error contains the process and its output."""
    process = await peer.started(guest.exec(["x"]))
    await peer.say(codec.ExecFailed(1, Stage.EXEC, 8))
    kept = weakref.ref(process)
    with pytest.raises(StartError):
        await process.wait()
    del process
    await peer.started(guest.exec(["y"]))
    gc.collect()
    assert kept() is None

"""Tests of requests that wait for their turn, because the guest runs too many commands."""

from __future__ import annotations

import asyncio

import pytest
from tests.support.options import exec_options
from tests.support.peer import TIMEOUT, Peer

from microvm.errors import MachineError
from microvm.guest.guest import Guest
from microvm.wire import codec
from microvm.wire.codec import Ending


async def exits(peer: Peer, number: int) -> None:
    await peer.say(codec.ExecResponse(number, Ending.EXITED, 0))


@pytest.mark.thorough
async def test_requests_get_their_turns_in_order(guest: Guest, peer: Peer) -> None:
    guest.waits = True
    events: list[str] = []

    async def command(name: str) -> None:
        process = await guest.start([name], exec_options())
        events.append(name)
        await process.wait()

    async def save() -> None:
        async with guest.idle():
            with guest.held():
                events.append("saving")
                await asyncio.sleep(0.01)
            events.append("saved")

    async with asyncio.timeout(TIMEOUT), asyncio.TaskGroup() as tasks:
        for coroutine in (command("first"), command("second"), save(), command("third")):
            tasks.create_task(coroutine)
            await asyncio.sleep(0)
        cancelled = tasks.create_task(command("cancelled"))
        await asyncio.sleep(0)
        tasks.create_task(command("fourth"))
        await asyncio.sleep(0)
        cancelled.cancel()
        for number, expected in enumerate(("first", "second", "third", "fourth"), 1):
            request = await peer.expect(codec.ExecRequest)
            assert (*request.argv, events[-1]) == (expected.encode(), expected)
            await exits(peer, number)
    assert events == ["first", "second", "saving", "saved", "third", "fourth"]


async def test_waiting_request_fails_with_the_guest(guest: Guest, peer: Peer) -> None:
    guest.waits = True
    await peer.started(await guest.start(["first"], exec_options()))
    waiting = asyncio.create_task(guest.start(["second"], exec_options()))
    await asyncio.sleep(0)
    error = guest.fail(MachineError("it has failed"))
    with pytest.raises(MachineError) as caught:
        await asyncio.wait_for(waiting, TIMEOUT)
    assert caught.value is error

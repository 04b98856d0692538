"""Tests of the loss of a guest: all waiting callers get the same reason."""

from __future__ import annotations

import asyncio
import gc
import socket
import weakref
from typing import Any

import pytest
from tests.support.peer import PIECE, SOON, TIMEOUT, Peer, connected, greeted

from microvm.errors import GuestDied, ProtocolError
from microvm.guest.guest import Guest
from microvm.guest.run import run
from microvm.guest.timeouts import Timeouts
from microvm.wire import codec
from microvm.wire.codec import Stream


async def test_output_before_a_loss_is_read_before_the_error(guest: Guest, peer: Peer) -> None:
    process = await peer.started(guest.exec(["cat"]))
    await peer.write(Stream.STDOUT, b"a" * PIECE)
    await peer.write(Stream.STDOUT, b"tail")
    half = codec.ExecOutput(1, Stream.STDOUT, b"lost").encode()[:-2]
    await peer.say(half)
    peer.port.close()
    with pytest.raises(GuestDied):
        await process.wait()
    assert bytes(await anext(process.stdout)) == b"a" * PIECE
    assert bytes(await anext(process.stdout)) == b"tail"
    for _ in range(2):
        with pytest.raises(GuestDied):
            await anext(process.stdout)


async def test_loss_is_raised_in_all_waiting_tasks(guest: Guest, peer: Peer) -> None:
    process = guest.exec(["cat"])
    waiting = [
        asyncio.ensure_future(waiter)
        for waiter in (
            process.wait(),
            process.stdout.read(),
            process.stderr.read(),
            guest.ping(),
            guest.status(),
        )
    ]
    await peer.expect(codec.ExecRequest)
    await asyncio.sleep(0)
    peer.port.close()
    results = await asyncio.gather(*waiting, return_exceptions=True)
    assert results == [guest.error] * len(waiting)
    assert isinstance(guest.error, GuestDied)


async def test_later_calls_raise_the_reason_of_the_loss(guest: Guest) -> None:
    reason = guest.fail(GuestDied("it halted"))
    for use in (run(guest, ["true"]), guest.ping(), guest.status(), guest.ready(1)):
        with pytest.raises(GuestDied) as caught:
            await use
        assert caught.value is reason


async def test_unawaited_loss_is_not_logged_by_asyncio() -> None:
    unhandled: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: unhandled.append(context))
    ours, theirs = socket.socketpair()
    guest = Guest()
    await guest.connect(ours)
    guest.fail(GuestDied("before anybody asked"))
    await asyncio.sleep(0)
    theirs.close()
    del guest
    gc.collect()
    assert unhandled == []


async def test_lost_guest_is_collected_with_its_last_user() -> None:
    gc.disable()  # the reason does not need it
    try:
        async with connected() as (guest, peer):
            lost = weakref.ref(guest)
            guest.fail(GuestDied("the test says so"))
            assert await peer.is_left()
        del guest
        await asyncio.sleep(0)
        assert lost() is None
    finally:
        gc.enable()


async def test_machine_owner_may_give_a_better_reason_in_the_grace() -> None:
    async with greeted(timeouts=Timeouts(loss_grace=TIMEOUT)) as (guest, peer):
        process = guest.exec(["cat"])
        peer.port.close()
        await asyncio.sleep(SOON)
        assert guest.error is None
        guest.fail(GuestDied("the guest reset"))
        with pytest.raises(GuestDied, match="the guest reset"):
            await process.wait()


async def test_grace_ends_without_a_better_reason() -> None:
    async with greeted(timeouts=Timeouts(loss_grace=SOON)) as (guest, peer):
        peer.port.close()
        with pytest.raises(GuestDied, match="the connection to the guest ended"):
            await guest.ping()


async def test_garbage_while_a_command_runs_ends_it_at_once() -> None:
    async with greeted(timeouts=Timeouts(loss_grace=TIMEOUT)) as (guest, peer):
        process = await peer.started(guest.exec(["cat"]))
        await peer.write(Stream.STDOUT, b"good")
        await peer.say(b"\xff" * 100)
        with pytest.raises(ProtocolError):
            await process.wait()
        assert bytes(await anext(process.stdout)) == b"good"
        assert await peer.is_left()


async def test_unexpected_error_fails_the_guest(monkeypatch: pytest.MonkeyPatch) -> None:
    unhandled: list[Any] = []
    async with greeted() as (guest, peer):
        asyncio.get_running_loop().set_exception_handler(lambda _, what: unhandled.append(what))
        process = await peer.started(guest.exec(["true"]))
        monkeypatch.setattr(process._command, "finish", lambda _: 1 / 0)
        await peer.exit(0)
        with pytest.raises(GuestDied, match="could not be handled"):
            await process.wait()
    assert isinstance(unhandled[0]["exception"], ZeroDivisionError)

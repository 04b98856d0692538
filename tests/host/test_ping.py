"""Tests of pings and of the status, which show whether a guest is alive."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import pytest
from tests.support.peer import PIECE, SHORT_TIMEOUT, SHORT_TIMEOUTS, SOON, TIMEOUT, Peer, greeted

from microvm.errors import GuestUnresponsive
from microvm.guest.guest import Guest
from microvm.wire import codec
from microvm.wire.codec import Stream


async def test_unanswered_ping_fails_the_guest() -> None:
    async with greeted(console_tail=lambda: "Kernel panic") as (guest, peer):
        with pytest.raises(GuestUnresponsive, match=r"did not answer within 0\.05 s") as caught:
            await guest.ping(SOON)
        assert caught.value.detail == "Kernel panic"
        assert guest.error is caught.value
        assert await peer.is_left()


@pytest.mark.parametrize("ask", [Guest.ping, Guest.status], ids=["ping", "status"])
async def test_answer_to_a_cancelled_request_is_ignored(
    guest: Guest, peer: Peer, ask: Callable[[Guest], Awaitable[Any]]
) -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(SOON):
            await ask(guest)
    question = await peer.hear()
    if isinstance(question, codec.Ping):
        await peer.say(codec.Pong(question.token))
    else:
        await peer.say(codec.Status(0, 0, 0, 0, 0, 0, 0, 0, 0, 0))
    process = await peer.started(guest.exec(["true"]))
    await peer.exit(0)
    assert await process.wait() == 0


@pytest.mark.thorough
async def test_guest_that_stops_answering_during_a_command_is_lost() -> None:
    async with greeted(timeouts=SHORT_TIMEOUTS, console_tail=lambda: "the end") as (guest, peer):
        process = await peer.started(guest.exec(["cat"]))
        ping = await peer.expect(codec.Ping)
        await peer.say(codec.Pong(ping.token))
        await peer.expect(codec.Ping)
        await peer.write(Stream.STDOUT, b"output is no answer")
        with pytest.raises(GuestUnresponsive, match="has it halted") as caught:
            await process.wait()
        assert caught.value.detail == "the end"
        assert await peer.is_left()


@pytest.mark.thorough
async def test_incomplete_frame_does_not_count_as_an_answer() -> None:
    async with greeted(timeouts=SHORT_TIMEOUTS) as (guest, peer):
        process = await peer.started(guest.exec(["cat"]))

        async def trickle() -> None:
            with suppress(ConnectionError):
                for byte in codec.ExecOutput(1, Stream.STDOUT, bytes(PIECE)).encode():
                    await peer.say(bytes([byte]))
                    await asyncio.sleep(0.005)

        trickling = asyncio.create_task(trickle())
        with pytest.raises(GuestUnresponsive, match="has it halted"):
            await process.wait()
        await trickling


@pytest.mark.thorough
async def test_an_answering_guest_is_pinged_until_the_command_ends() -> None:
    async with greeted(timeouts=SHORT_TIMEOUTS) as (guest, peer):
        process = await peer.started(guest.exec(["cat"]))
        # Longer than the maximum time for one answer.
        until = time.monotonic() + 2 * SHORT_TIMEOUT
        while time.monotonic() < until:
            await peer.say(codec.Pong((await peer.expect(codec.Ping)).token))
        await peer.exit(0)
        assert await process.wait() == 0
        assert await peer.hears_nothing()


@pytest.mark.thorough
async def test_other_answers_do_not_count_for_a_ping() -> None:
    async with greeted(timeouts=SHORT_TIMEOUTS) as (guest, peer):
        process = await peer.started(guest.exec(["cat"]))
        await peer.expect(codec.Ping)

        async def script() -> None:
            await peer.say(codec.Pong((await peer.expect(codec.Ping)).token))

        await asyncio.gather(guest.ping(TIMEOUT), script())
        with pytest.raises(GuestUnresponsive):
            await process.wait()

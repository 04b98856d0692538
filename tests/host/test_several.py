"""Tests of a guest that runs several commands at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from itertools import pairwise
from subprocess import PIPE, STDOUT
from typing import Any

import pytest
from tests.support.options import exec_options
from tests.support.peer import (
    PIECE,
    SHORT_TIMEOUT,
    SHORT_TIMEOUTS,
    SOON,
    TIMEOUT,
    Peer,
    connected,
    greeted,
)

from microvm.errors import (
    BUILD_AGAIN,
    Busy,
    ExecTimeout,
    UsageError,
)
from microvm.guest.guest import Guest
from microvm.guest.process import Process
from microvm.wire import codec
from microvm.wire.codec import Ending, Stream

KILLED = codec.ExecResponse(1, Ending.SIGNALLED, 9)


@asynccontextmanager
async def permitting(commands: int, **options: Any) -> AsyncIterator[tuple[Guest, Peer]]:
    """Yield a guest that permits this number of commands at once, and its simulated peer."""
    async with greeted(**options) as (guest, peer):
        guest.commands = commands
        yield guest, peer


async def start(guest: Guest, peer: Peer, count: int, **options: Any) -> list[Process]:
    """Start `count` commands, let the peer receive their requests, and return their processes."""
    return [await peer.started(guest.exec(["cat"], **options)) for _ in range(count)]


async def test_an_image_of_an_older_version_joins_no_streams() -> None:
    async with connected() as (guest, peer):
        await peer.expect(codec.Hello)
        ready = codec.Ready(3, codec.DIGESTS[3], codec.MAX_BODY, peer.nonce)
        await peer.say(ready)
        await guest.ready(TIMEOUT)
        with pytest.raises(UsageError, match="too old for a command with stderr=STDOUT") as caught:
            guest.exec(["cat"], stderr=STDOUT)
        assert caught.value.hint == BUILD_AGAIN
        assert guest.exec(["cat"]).returncode is None


# -- Limits and the end of single commands ------------------------------------------------------


async def test_a_time_limit_kills_only_its_command() -> None:
    async with permitting(2) as (guest, peer):
        (late,) = await start(guest, peer, 1, timeout=SOON)
        (other,) = await start(guest, peer, 1, timeout=TIMEOUT)
        assert await peer.expect(codec.ExecKill) == codec.ExecKill(1)
        await peer.say(KILLED)
        with pytest.raises(ExecTimeout):
            await late.wait()
        assert other.returncode is None
        await peer.say(codec.ExecResponse(2, Ending.EXITED, 0))
        assert await other.wait() == 0


@pytest.mark.thorough
async def test_a_command_that_ignores_its_kill_is_late_beside_others() -> None:
    async with permitting(2, timeouts=SHORT_TIMEOUTS._replace(ping_interval=TIMEOUT)) as (
        guest,
        peer,
    ):
        stuck, other = await start(guest, peer, 2)
        stuck.abandon()
        assert await peer.expect(codec.ExecKill) == codec.ExecKill(1)
        other.abandon()
        await peer.say(replace(KILLED, id=2))
        await other.wait()
        async with asyncio.timeout(SHORT_TIMEOUT + TIMEOUT):
            assert "a killed command did not exit" in str(await guest.wait_lost())


async def test_a_dropped_process_is_killed_without_harm_to_others() -> None:
    async with permitting(2) as (guest, peer):
        kept, dropped = await start(guest, peer, 2)
        del dropped
        assert await peer.expect(codec.ExecKill) == codec.ExecKill(2)
        starting = asyncio.create_task(guest.start(["cat"], exec_options()))
        assert await peer.hears_nothing()  # the new command waits for the exit of the killed one
        await peer.say(replace(KILLED, id=2))
        await peer.started(await starting)
        assert kept.returncode is None
        await peer.say(codec.ExecOutput(1, Stream.STDOUT, b"x"))
        assert await kept.stdout.read(1) == b"x"


async def test_a_free_slot_needs_no_wait_for_a_killed_command() -> None:
    async with permitting(2) as (guest, peer):
        (abandoned,) = await start(guest, peer, 1)
        abandoned.abandon()
        await peer.expect(codec.ExecKill)
        async with asyncio.timeout(SHORT_TIMEOUT):
            await peer.started(await guest.start(["cat"], exec_options()))
        with pytest.raises(Busy), guest.held():
            pass


async def test_waiting_for_an_idle_guest_takes_in_all_killed_commands() -> None:
    async with permitting(3) as (guest, peer):
        processes = await start(guest, peer, 3)
        for process in processes:
            process.abandon()
            await peer.expect(codec.ExecKill)
        waiting = asyncio.create_task(guest.idle().__aenter__())
        for id_ in (1, 2):
            await peer.say(replace(KILLED, id=id_))
            pinging = asyncio.create_task(guest.ping())
            await peer.say(codec.Pong((await peer.expect(codec.Ping)).token))
            await pinging  # the host handles messages in order, so it has handled the result
            assert not waiting.done()
        await peer.say(replace(KILLED, id=3))
        await asyncio.wait_for(waiting, TIMEOUT)
        with guest.held():
            pass


# -- The guest ----------------------------------------------------------------------------------


async def test_a_guest_is_pinged_while_any_command_runs() -> None:
    async with permitting(2, timeouts=SHORT_TIMEOUTS) as (guest, peer):
        first, second = await start(guest, peer, 2)
        for process in (first, second):
            ping = await peer.expect(codec.Ping)
            await peer.say(codec.Pong(ping.token))
            ping = await peer.expect(codec.Ping)
            id_ = 1 if process is first else 2
            await peer.say(codec.Pong(ping.token), codec.ExecResponse(id_, Ending.EXITED, 0))
            await process.wait()
        assert await peer.hears_nothing()


# -- Input --------------------------------------------------------------------------------------


async def test_commands_take_turns_when_the_write_buffer_is_full() -> None:
    async with permitting(3) as (guest, peer):
        processes = await start(guest, peer, 3, stdin=PIPE)
        pieces = 16  # together, the pieces are as large as the maximum credit
        for process in processes:
            assert process.stdin
            process.stdin.write(bytes(pieces * PIECE))
        for id_ in (1, 2, 3):
            await peer.say(codec.ExecStdinCredit(id_, pieces * PIECE))
        async with asyncio.timeout(TIMEOUT):
            while not guest._channel.is_full:  # noqa: ASYNC110 - nothing sets an event
                await asyncio.sleep(0.001)
        order: list[int] = []
        while len(order) < 3 * pieces:
            match await peer.hear():
                case codec.ExecStdin(id=id_):
                    order.append(id_)
                case codec.Ping(token=token):
                    await peer.say(codec.Pong(token))
        assert sorted(order) == sorted([1, 2, 3] * pieces)
        # The first frames may all be of the first command, because it has filled the buffers.
        # Later, the commands take turns.
        later = order[2 * pieces :]
        longest = run = 1
        for one, other in pairwise(later):
            run = run + 1 if one == other else 1
            longest = max(longest, run)
        assert longest <= pieces // 2, order

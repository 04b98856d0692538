"""Tests of time-outs, grace and kills of commands, and of a blocked event loop."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from signal import SIGKILL, SIGTERM

import pytest
from tests.support.peer import SHORT_TIMEOUTS, SOON, Peer, answered, greeted

from microvm.errors import ExecTimeout, GuestUnresponsive
from microvm.guest.deadline import Deadline
from microvm.guest.guest import Guest
from microvm.guest.run import run
from microvm.wire import codec
from microvm.wire.codec import Ending, Stream
from microvm.wire.session import WINDOW


async def test_timeout_kills_and_keeps_earlier_output(guest: Guest, peer: Peer) -> None:
    async def script() -> None:
        await peer.expect(codec.ExecRequest)
        await peer.write(Stream.STDOUT, b"so far")
        await peer.write(Stream.STDERR, b"no good")
        assert await peer.hear() == codec.ExecKill(1)
        await peer.write(Stream.STDOUT, b", so good")
        await peer.exit(SIGKILL, Ending.SIGNALLED)

    with pytest.raises(ExecTimeout, match=r"timed out after 0\.05 s") as caught:
        await answered(run(guest, ["sleep", "60"], timeout=SOON), script())
    assert (caught.value.stdout, caught.value.stderr) == (b"so far, so good", b"no good")
    assert guest.error is None


@pytest.mark.thorough
async def test_timeout_frees_a_command_that_waits_for_its_reader(guest: Guest, peer: Peer) -> None:
    process = await peer.started(guest.exec(["yes"], timeout=0.5))
    await peer.write(Stream.STDOUT, b"a" * WINDOW)
    credit = await peer.expect(codec.ExecCredit)
    assert (credit.stream, credit.amount) == (Stream.STDOUT, WINDOW)
    await peer.expect(codec.ExecKill)
    # The guest may have sent a window in advance. Further output is dropped.
    await peer.write(Stream.STDOUT, b"b" * 3 * WINDOW)
    await peer.exit(SIGKILL, Ending.SIGNALLED)
    with pytest.raises(ExecTimeout):
        await process.wait()
    assert await process.stdout.read() == b"a" * WINDOW + b"b" * WINDOW


@pytest.mark.thorough
async def test_exit_in_time_cancels_the_deadline() -> None:
    async with greeted(timeouts=SHORT_TIMEOUTS) as (guest, peer):
        process = await peer.started(guest.exec(["true"], timeout=0.5))
        await peer.exit(0)
        assert await process.wait() == 0
        await asyncio.sleep(0.5 + SHORT_TIMEOUTS.kill + SOON)
        assert guest.error is None
        assert await peer.hears_nothing()


@pytest.mark.thorough
async def test_unanswered_kill_after_a_timeout_ends_the_guest() -> None:
    async with greeted(timeouts=SHORT_TIMEOUTS) as (guest, peer):

        async def answer_pings() -> None:
            with suppress(EOFError, ConnectionResetError, BrokenPipeError):
                while True:
                    message = await peer.hear()
                    if isinstance(message, codec.Ping):
                        await peer.say(codec.Pong(message.token))

        with pytest.raises(GuestUnresponsive, match="a killed command did not exit"):
            await answered(run(guest, ["sleep", "60"], timeout=SOON), answer_pings())
        with pytest.raises(GuestUnresponsive):
            await run(guest, ["true"])


async def test_grace_sends_a_signal_before_the_kill(guest: Guest, peer: Peer) -> None:
    async def script() -> None:
        await peer.expect(codec.ExecRequest)
        assert await peer.hear() == codec.ExecTerminate(1)
        start = time.monotonic()
        await peer.write(Stream.STDOUT, b"not yet")
        assert await peer.hear() == codec.ExecKill(1)
        assert time.monotonic() - start > 0.15
        await peer.exit(SIGKILL, Ending.SIGNALLED)

    with pytest.raises(ExecTimeout, match=r"timed out after 0\.05 s") as caught:
        await answered(run(guest, ["sleep"], timeout=SOON, grace=0.2), script())
    assert caught.value.stdout == b"not yet"


async def test_command_that_exits_within_grace_is_not_killed(guest: Guest, peer: Peer) -> None:
    async def script() -> None:
        await peer.expect(codec.ExecRequest)
        await peer.expect(codec.ExecTerminate)
        await peer.write(Stream.STDOUT, b"bye")
        await peer.exit(SIGTERM, Ending.SIGNALLED)

    with pytest.raises(ExecTimeout) as caught:
        await answered(run(guest, ["sleep"], timeout=SOON, grace=2 * SOON), script())
    assert caught.value.stdout == b"bye"
    await asyncio.sleep(2 * SOON)
    assert await peer.hears_nothing()


@pytest.mark.thorough
async def test_output_after_a_kill_does_not_extend_its_deadline() -> None:
    async with greeted(timeouts=SHORT_TIMEOUTS) as (guest, peer):
        process = await peer.started(guest.exec(["yes"], max_output=1))

        async def script() -> None:
            kills = 0
            with suppress(EOFError, OSError):
                while True:
                    await peer.say(codec.ExecOutput(1, Stream.STDOUT, b"xx"))
                    with suppress(TimeoutError):
                        async with asyncio.timeout(0.05):
                            message = await peer.hear()
                            kills += isinstance(message, codec.ExecKill)
                            if isinstance(message, codec.Ping):
                                await peer.say(codec.Pong(message.token))
            assert kills == 1

        flooding = asyncio.create_task(script())
        with pytest.raises(GuestUnresponsive, match="a killed command did not exit"):
            await process.wait()
        await flooding


def _stand_still(seconds: float) -> None:
    time.sleep(seconds)


@pytest.mark.thorough
async def test_time_in_which_the_loop_is_blocked_does_not_count() -> None:
    async with greeted(timeouts=SHORT_TIMEOUTS) as (guest, peer):
        process = await peer.started(guest.exec(["yes"], timeout=SOON))
        await peer.is_killed()
        for _ in range(3):
            _stand_still(SHORT_TIMEOUTS.kill + 0.2)
            await asyncio.sleep(SOON)
        await peer.exit(9, Ending.SIGNALLED)
        with pytest.raises(ExecTimeout):
            await process.wait()


@pytest.mark.thorough
async def test_deadline_expires_even_if_the_loop_is_always_late() -> None:
    expired = asyncio.Event()
    Deadline().start(0.2, expired.set)
    for number in range(4):
        assert not expired.is_set(), number
        _stand_still(0.35)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    assert expired.is_set()

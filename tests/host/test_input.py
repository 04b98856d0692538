"""Tests of the standard input of a command, which is sent as credit and the command allow."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from random import Random
from subprocess import PIPE

import pytest
from tests.support.peer import SOON, Peer

from microvm.guest.guest import Guest
from microvm.wire import codec
from microvm.wire.codec import Stage


async def test_input_is_sent_up_to_the_credit(guest: Guest, peer: Peer) -> None:
    process = guest.exec(["cat"], stdin=PIPE)
    assert (await peer.expect(codec.ExecRequest)).stdin_from is codec.StdinKind.HOST
    assert process.stdin
    process.stdin.write(b"hello")
    process.stdin.write(memoryview(b" world"))
    draining = asyncio.create_task(process.stdin.drain())
    assert await peer.hears_nothing()
    await peer.say(codec.ExecStdinCredit(1, 7))
    assert await peer.hear() == codec.ExecStdin(1, b"hello")
    assert await peer.hear() == codec.ExecStdin(1, b" w")
    assert await peer.hears_nothing()
    assert not draining.done()
    process.stdin.close()
    assert process.stdin.is_closing()
    await peer.say(codec.ExecStdinCredit(1, 100))
    assert await peer.hear() == codec.ExecStdin(1, b"orld")
    assert await peer.hear() == codec.ExecStdin(1, b"")
    await draining
    process.stdin.close()
    process.stdin.write(b"too late")
    assert await peer.hears_nothing()


async def test_input_waits_for_channel(guest: Guest, peer: Peer, memory: Callable[[], int]) -> None:
    process = await peer.started(guest.exec(["cat"], stdin=PIPE))
    await peer.say(*[codec.ExecStdinCredit(1, 1 << 20)] * 2)
    await asyncio.sleep(SOON)
    data = Random(3).randbytes(1 << 20)
    before = memory()
    assert process.stdin
    process.stdin.write(data)
    draining = asyncio.create_task(process.stdin.drain())
    await asyncio.sleep(SOON)
    assert not draining.done()
    assert memory() - before < 1 << 19
    heard = bytearray()
    while len(heard) < len(data):
        heard += (await peer.expect(codec.ExecStdin)).data
    assert heard == data
    await draining


@pytest.mark.parametrize("how", ["closed", "ended", "lost", "failed"])
async def test_drain_fails_if_the_command_closes_input(guest: Guest, peer: Peer, how: str) -> None:
    process = await peer.started(guest.exec(["cat"], stdin=PIPE))
    assert process.stdin
    process.stdin.write(b"x" * 100)
    draining = asyncio.create_task(process.stdin.drain())
    await asyncio.sleep(0)
    match how:
        case "closed":
            await peer.say(codec.ExecStdinClosed(1))
        case "ended":
            await peer.exit(0)
        case "failed":
            await peer.say(codec.ExecFailed(1, Stage.LOOKUP, 2))
        case _:
            peer.port.close()
    with pytest.raises(BrokenPipeError):
        await draining
    assert process.stdin.is_closing()
    process.stdin.write(b"more")
    process.stdin.close()
    with pytest.raises(BrokenPipeError):
        await process.stdin.drain()
    if how == "closed":
        assert await peer.hears_nothing()
        await peer.exit(0)
        assert await process.wait() == 0


async def test_late_input_does_not_reach_the_next_command(guest: Guest, peer: Peer) -> None:
    first = await peer.started(guest.exec(["cat"], stdin=PIPE))
    assert first.stdin
    first.stdin.write(b"of the first")
    await peer.exit(0)
    await first.wait()
    second = await peer.started(guest.exec(["cat"], stdin=PIPE))
    await peer.say(codec.ExecStdinCredit(2, 100))
    first.stdin.write(b"of the first")
    first.stdin.close()
    first.resize(1, 1)
    assert await peer.hears_nothing()
    assert second.stdin
    second.stdin.write(b"of the second")
    assert await peer.hear() == codec.ExecStdin(2, b"of the second")

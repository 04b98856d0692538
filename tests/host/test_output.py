"""Tests of the output of a command, read completely, in chunks, and in lines."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from random import Random
from signal import SIGKILL

import pytest
from tests.support.peer import PIECE, Peer, arrives

from microvm.guest.guest import Guest
from microvm.wire import codec
from microvm.wire.codec import Ending, Stream
from microvm.wire.session import WINDOW


@pytest.mark.parametrize("stream", Stream)
async def test_abandoned_command_is_killed(guest: Guest, peer: Peer, stream: Stream) -> None:
    process = await peer.started(guest.exec(["yes"]))
    await peer.write(stream, bytes(WINDOW))
    await arrives(process.stdout if stream is Stream.STDOUT else process.stderr, WINDOW)
    process.abandon()
    heard = [await peer.hear(), await peer.hear()]
    assert {type(message) for message in heard} == {codec.ExecCredit, codec.ExecKill}
    await peer.write(stream, bytes(3 * WINDOW))
    await peer.exit(SIGKILL, Ending.SIGNALLED)
    assert await process.wait() == -SIGKILL
    assert guest.error is None


async def test_a_slow_reader_loses_nothing(guest: Guest, peer: Peer) -> None:
    content = Random(1).randbytes(3 * WINDOW + 12345)
    process = guest.exec(["cat"])
    writing = asyncio.create_task(peer.play(stdout=content))
    read = []
    async for chunk in process.stdout:
        read.append(bytes(chunk))
        await asyncio.sleep(0.001 if len(read) % 8 else 0)
    await writing
    assert b"".join(read) == content
    assert await process.wait() == 0


async def test_a_full_stream_does_not_stall_the_other(guest: Guest, peer: Peer) -> None:
    process = guest.exec(["yes"])
    stderr, _ = await asyncio.gather(
        process.stderr.read(), peer.play(stdout=bytes(WINDOW), stderr=bytes(3 * WINDOW))
    )
    assert len(stderr) == 3 * WINDOW
    assert len(await process.stdout.read()) == WINDOW


async def test_unread_output_takes_only_its_size_in_memory(
    guest: Guest, peer: Peer, memory: Callable[[], int]
) -> None:
    process = await peer.started(guest.exec(["yes"]))
    # One byte for the unread stream among much data for the other one.
    rounds, much = 100, bytes(3 * PIECE)

    async def script() -> None:
        for _ in range(rounds):
            await peer.write(Stream.STDOUT, b"x")
            await peer.write(Stream.STDERR, much)

    async def read() -> None:
        left = rounds * len(much)
        async for chunk in process.stderr:
            left -= len(chunk)
            if not left:
                break

    await asyncio.gather(script(), read())
    assert memory() < 4 * WINDOW
    assert bytes(await anext(process.stdout)) == b"x" * rounds


async def test_tiny_chunks_take_only_their_size_in_memory(
    guest: Guest, peer: Peer, memory: Callable[[], int]
) -> None:
    process = await peer.started(guest.exec(["yes"]))
    pieces = 30_000
    tiny = codec.ExecOutput(1, Stream.STDOUT, b"ab").encode()
    await peer.say(tiny * pieces)
    await peer.exit(0)
    await process.wait()
    # As separate objects, they would use fifty times as much memory.
    assert memory() < 1 << 20
    assert await process.stdout.read() == b"ab" * pieces

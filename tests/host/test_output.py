"""Tests of the output of a command, read completely, in chunks, and in lines."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from random import Random
from signal import SIGKILL, SIGTERM
from typing import Any

import pytest
from tests.support.peer import PIECE, SOON, Peer, arrives

from microvm.guest.guest import Guest
from microvm.guest.streams import OutputStream
from microvm.wire import codec
from microvm.wire.codec import Ending, Stream
from microvm.wire.session import WINDOW


async def test_output_arrives_in_chunks_while_the_command_runs(guest: Guest, peer: Peer) -> None:
    process = await peer.started(guest.exec(["cat"]))
    for data in (b"one", b"two"):
        await peer.write(Stream.STDERR, data)
        assert bytes(await anext(process.stderr)) == data
        assert process.returncode is None


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


async def test_signal_is_sent_while_output_is_not_read(guest: Guest, peer: Peer) -> None:
    process = await peer.started(guest.exec(["yes"]))
    for stream in Stream:
        await peer.write(stream, bytes(WINDOW))
    process.terminate()
    assert await peer.hear() == codec.ExecSignal(1, SIGTERM)


async def test_a_full_stream_does_not_stall_the_other(guest: Guest, peer: Peer) -> None:
    process = guest.exec(["yes"])
    stderr, _ = await asyncio.gather(
        process.stderr.read(), peer.play(stdout=bytes(WINDOW), stderr=bytes(3 * WINDOW))
    )
    assert len(stderr) == 3 * WINDOW
    assert len(await process.stdout.read()) == WINDOW


async def test_unread_output_grants_no_credit(guest: Guest, peer: Peer) -> None:
    process = await peer.started(guest.exec(["yes"]))
    await peer.write(Stream.STDOUT, bytes(WINDOW))
    assert await peer.hears_nothing()
    assert process.returncode is None


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


@pytest.mark.parametrize("piece", [1, 3, 7, PIECE])
async def test_output_is_read_by_lines_or_by_size(guest: Guest, peer: Peer, piece: int) -> None:
    content = b"one\ntwo\n\n" + b"x" * 100 + b"\nthree"
    process = await peer.started(guest.exec(["cat"]))
    for at in range(0, len(content), piece):
        await peer.write(Stream.STDOUT, content[at : at + piece])
    await peer.exit(0)
    stdout = process.stdout
    assert await stdout.readline() == b"one\n"
    assert await stdout.read(2) + await stdout.readline() == b"two\n"
    assert await stdout.read(0) == b""
    assert await stdout.readline() == b"\n"
    rest = b""
    while data := await stdout.read(5):
        assert len(data) <= 5
        rest += data
        if b"\n" in rest:
            break
    rest += b"".join([chunk async for chunk in stdout])
    assert rest == b"x" * 100 + b"\nthree"
    assert await stdout.readline() == await stdout.read(9) == await stdout.read() == b""


@pytest.mark.parametrize("read", [lambda s: s.readline(), lambda s: s.read()], ids=["line", "all"])
async def test_cancelled_read_loses_no_output(
    guest: Guest, peer: Peer, read: Callable[[OutputStream], Coroutine[Any, Any, bytes]]
) -> None:
    process = await peer.started(guest.exec(["cat"]))
    for piece in (b"first ", b"second "):
        await peer.write(Stream.STDOUT, piece)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(read(process.stdout), SOON)
    await peer.write(Stream.STDOUT, b"third\n")
    assert await process.stdout.readline() == b"first second third\n"

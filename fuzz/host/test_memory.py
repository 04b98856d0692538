"""A guest that floods the host takes little of its memory."""

from __future__ import annotations

import asyncio
import tracemalloc
from collections.abc import Awaitable, Callable
from contextlib import closing, suppress
from subprocess import PIPE

import pytest
from tests.support.peer import PIECE, Peer, connected, pair, ready

from microvm.errors import GuestUnresponsive, ProtocolError
from microvm.guest.guest import Guest
from microvm.guest.run import run
from microvm.qemu.console import TAIL_SIZE, Console
from microvm.wire import codec
from microvm.wire.codec import Stream
from microvm.wire.session import WINDOW

from .loop import VirtualLoop

MIB = 1 << 20
FLOOD = 64 * MIB
OUTPUT = codec.ExecOutput(1, Stream.STDOUT, bytes(PIECE)).encode()
CREDIT = codec.ExecStdinCredit(1, 0xFFFFFFFF)


async def flood(peer: Peer, data: bytes, total: int = FLOOD) -> int:
    """Say it until so much has been said, or nobody listens; how much that was."""
    for said in range(0, total, len(data)):
        try:
            await peer.say(data)
        except ConnectionError:
            return said
        await asyncio.sleep(0)
    return total


async def write(peer: Peer) -> None:
    """Write output as it is paid for, whatever else the host says."""
    with suppress(ConnectionError, EOFError):
        for _ in range(FLOOD // PIECE):
            while peer.credit.get(Stream.STDOUT, 0) < PIECE:
                await peer.hear()
            peer.credit[Stream.STDOUT] -= PIECE
            await peer.say(OUTPUT)


async def of_an_earlier_session(guest: Guest, peer: Peer) -> None:
    await flood(peer, OUTPUT)
    await ready(guest, peer)


async def that_nobody_has_paid_for(guest: Guest, peer: Peer) -> None:
    await ready(guest, peer)
    process = guest.exec(["yes"])  # held: one that nobody holds is killed, and all it says is taken
    assert await flood(peer, OUTPUT) < 4 * MIB
    assert isinstance(guest.error, ProtocolError)
    assert process.returncode == guest.error.exit_status


async def beyond_its_limit(guest: Guest, peer: Peer) -> None:
    await ready(guest, peer)
    with pytest.raises(GuestUnresponsive):
        await asyncio.gather(run(guest, ["yes"], max_output=10), write(peer))


async def that_is_taken(guest: Guest, peer: Peer) -> None:
    await ready(guest, peer)
    process = guest.exec(["yes"])
    writing = asyncio.create_task(write(peer))
    taken = 0
    while taken < FLOOD:
        taken += len(await anext(process.stdout))
    await writing


async def of_credit(guest: Guest, peer: Peer) -> None:
    await ready(guest, peer)
    guest.exec(["cat"], stdin=PIPE)
    await flood(peer, CREDIT.encode() * 4096, FLOOD // 128)


async def of_input(guest: Guest, peer: Peer) -> None:
    await ready(guest, peer)
    process = guest.exec(["cat"], stdin=PIPE)
    await peer.say(CREDIT)
    await asyncio.sleep(1)
    assert process.stdin
    with suppress(TimeoutError):
        async with asyncio.timeout(1):
            for _ in range(FLOOD // PIECE):  # as a pipe is copied
                process.stdin.write(bytes(PIECE))
                await process.stdin.drain()


async def on_the_console(_: Guest, __: Peer) -> None:
    ours, theirs = pair()
    console = Console()
    following = asyncio.create_task(console.follow(ours))
    await flood(Peer(theirs), b"\x1b[31m\r\n" * 8192)
    theirs.close()
    await following
    assert len(console.tail(lines=1 << 20)) <= TAIL_SIZE


async def peak(flooded: Callable[[Guest, Peer], Awaitable[None]]) -> int:
    """Return the bytes of memory that a flood takes at most."""
    async with connected() as (guest, peer):
        tracemalloc.start()
        try:
            await flooded(guest, peer)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()


@pytest.mark.parametrize(
    "flooded",
    [
        of_an_earlier_session,
        that_nobody_has_paid_for,
        beyond_its_limit,
        that_is_taken,
        of_credit,
        of_input,
        on_the_console,
    ],
)
def test_a_flood_takes_little_memory(flooded: Callable[[Guest, Peer], Awaitable[None]]) -> None:
    with closing(VirtualLoop()) as loop:
        assert loop.run_until_complete(peak(flooded)) < 4 * WINDOW + MIB

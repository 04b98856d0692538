"""A guest that floods the host takes little of its memory."""

from __future__ import annotations

import asyncio
import contextlib
import tracemalloc
from collections.abc import Awaitable, Callable
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


async def flood(peer: Peer, data: bytes, total: int) -> int:
    """Say it until so much has been said, or nobody listens; how much that was."""
    for number in range(total // len(data)):
        try:
            await peer.say(data)
        except ConnectionError:
            return number * len(data)
        await asyncio.sleep(0)
    return total


async def pay_for(peer: Peer) -> None:
    """Write output, as it is paid for."""
    await peer.expect(codec.ExecRequest)
    with contextlib.suppress(ConnectionError):
        for _ in range(FLOOD // PIECE):
            await peer.write(Stream.STDOUT, bytes(PIECE))


async def _of_an_earlier_session(guest: Guest, peer: Peer) -> None:
    await flood(peer, OUTPUT, FLOOD)
    await ready(guest, peer)


async def _that_nobody_has_paid_for(guest: Guest, peer: Peer) -> None:
    await ready(guest, peer)
    process = guest.exec(["yes"])  # held: one that nobody holds is killed, and all it says is taken
    assert await flood(peer, OUTPUT, FLOOD) < 4 * MIB
    assert isinstance(guest.error, ProtocolError)
    assert process.returncode == guest.error.exit_status


async def _beyond_its_limit(guest: Guest, peer: Peer) -> None:
    await ready(guest, peer)
    writing = asyncio.create_task(pay_for(peer))
    with pytest.raises(GuestUnresponsive):
        await run(guest, ["yes"], max_output=10)
    writing.cancel()


async def _that_is_taken(guest: Guest, peer: Peer) -> None:
    await ready(guest, peer)
    process = guest.exec(["yes"])
    writing = asyncio.create_task(pay_for(peer))
    taken = 0
    while taken < FLOOD:
        taken += len(await anext(process.stdout))
    await writing


async def _of_credit(guest: Guest, peer: Peer) -> None:
    await ready(guest, peer)
    guest.exec(["cat"], stdin=PIPE)
    await flood(peer, codec.ExecStdinCredit(1, 0xFFFFFFFF).encode() * 4096, FLOOD // 128)


async def _of_input(guest: Guest, peer: Peer) -> None:
    await ready(guest, peer)
    process = guest.exec(["cat"], stdin=PIPE)
    await peer.say(codec.ExecStdinCredit(1, 0xFFFFFFFF))
    await asyncio.sleep(1)
    assert process.stdin
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(1):
            for _ in range(FLOOD // PIECE):  # as a pipe is copied
                process.stdin.write(bytes(PIECE))
                await process.stdin.drain()


async def _on_the_console(_: Guest, __: Peer) -> None:
    ours, theirs = pair()
    console = Console()
    following = asyncio.create_task(console.follow(ours))
    await flood(Peer(theirs), b"\x1b[31m\r\n" * 8192, FLOOD)
    theirs.close()
    await following
    assert len(console.tail(lines=1 << 20)) <= TAIL_SIZE


@pytest.mark.parametrize(
    "flooded",
    [
        _of_an_earlier_session,
        _that_nobody_has_paid_for,
        _beyond_its_limit,
        _that_is_taken,
        _of_credit,
        _of_input,
        _on_the_console,
    ],
    ids=lambda flooded: flooded.__name__.strip("_"),
)
def test_a_flood_takes_little_memory(
    flooded: Callable[[Guest, Peer], Awaitable[None]],
) -> None:
    async def measured() -> int:
        async with connected() as (guest, peer):
            tracemalloc.start()
            try:
                await flooded(guest, peer)
                return tracemalloc.get_traced_memory()[1]
            finally:
                tracemalloc.stop()

    with contextlib.closing(VirtualLoop()) as loop:
        peak = loop.run_until_complete(measured())
    assert peak < 4 * WINDOW + MIB

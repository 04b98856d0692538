"""Tests that the host uses little memory when a guest floods it with messages."""

from __future__ import annotations

import asyncio
import tracemalloc
from collections.abc import Awaitable, Callable
from contextlib import closing, suppress
from subprocess import PIPE

import pytest
from tests.support.peer import PIECE, Peer, connected, ready
from tests.support.virtual_loop import VirtualLoop

from microvm.errors import GuestUnresponsive, ProtocolError
from microvm.guest.guest import Guest
from microvm.guest.run import run
from microvm.wire import codec
from microvm.wire.codec import Stream
from microvm.wire.session import _STALE_LIMIT, WINDOW

MIB = 1 << 20
PIECES = 64 * MIB // PIECE
STALE_PIECES = _STALE_LIMIT // PIECE
OUTPUT = codec.ExecOutput(1, Stream.STDOUT, bytes(PIECE)).encode()


async def of_an_earlier_session(guest: Guest, peer: Peer) -> None:
    for _ in range(STALE_PIECES * 15 // 16):
        await peer.say(OUTPUT)
    await ready(guest, peer)


async def without_an_answer(guest: Guest, peer: Peer) -> None:
    with suppress(ConnectionError):
        for _ in range(STALE_PIECES * 2):
            await peer.say(OUTPUT)
    with pytest.raises(ProtocolError, match="does not answer"):
        await guest.ready(60)


async def beyond_its_limit(guest: Guest, peer: Peer) -> None:
    async def write() -> None:
        """Write output as credit allows, and ignore the other messages of the host."""
        with suppress(ConnectionError, EOFError):
            for _ in range(PIECES):
                while peer.credit.get(Stream.STDOUT, 0) < PIECE:
                    await peer.hear()
                peer.credit[Stream.STDOUT] -= PIECE
                await peer.say(OUTPUT)

    await ready(guest, peer)
    with pytest.raises(GuestUnresponsive):
        await asyncio.gather(run(guest, ["yes"], max_output=10), write())


async def of_credit(guest: Guest, peer: Peer) -> None:
    await ready(guest, peer)
    guest.exec(["cat"], stdin=PIPE)
    for _ in range(8):
        await peer.say(codec.ExecStdinCredit(1, 0xFFFFFFFF).encode() * 4096)


async def peak(flood: Callable[[Guest, Peer], Awaitable[None]]) -> int:
    async with connected() as (guest, peer):
        tracemalloc.start()
        try:
            await flood(guest, peer)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()


@pytest.mark.parametrize(
    "flood", [of_an_earlier_session, without_an_answer, beyond_its_limit, of_credit]
)
def test_a_flood_takes_little_memory(flood: Callable[[Guest, Peer], Awaitable[None]]) -> None:
    with closing(VirtualLoop()) as loop:
        assert loop.run_until_complete(peak(flood)) < 4 * WINDOW + MIB

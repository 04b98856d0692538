"""Tests of the channel: the events that it reports, and how it stops."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import pairwise

import pytest

from microvm.errors import GuestDied, MachineError
from microvm.wire import codec
from microvm.wire.channel import FRAMES_PER_TURN, Channel
from microvm.wire.session import Session

GOODBYE = codec.Goodbye(1)
SOON = 0.05


class Owner:
    """An owner that records the events of a channel, and may close it at the first event."""

    def __init__(self, *, closes: bool = False) -> None:
        self.events: list[codec.Message] = []
        self.losses: list[MachineError] = []
        self.closes = closes
        self.session = Session()
        self.channel: Channel | None = None
        self.heard = asyncio.Event()
        self.room = 0

    def on_room(self) -> None:
        self.room += 1

    def on_event(self, event: codec.Message) -> None:
        self.events.append(event)
        self.heard.set()
        if self.closes and self.channel:
            self.channel.close()


@asynccontextmanager
async def opened(owner: Owner) -> AsyncIterator[tuple[Channel, socket.socket]]:
    """A channel to a guest that has just answered, and the guest's side of the port."""
    session = owner.session
    decoder = codec.Decoder("host")
    decoder.receive_data(session.hello())
    hello = decoder.next_message()
    assert isinstance(hello, codec.Hello)
    ours, theirs = socket.socketpair()
    theirs.settimeout(10)
    channel = Channel(session, owner.on_event, owner.losses.append, owner.on_room)
    await channel.connect(ours)
    theirs.sendall(codec.Ready(codec.VERSION, codec.DIGEST, codec.MAX_BODY, hello.nonce).encode())
    await owner.heard.wait()
    owner.events.clear()
    owner.channel = channel
    try:
        yield channel, theirs
    finally:
        channel.close()
        theirs.close()
        await asyncio.sleep(0)


def flood(owner: Owner, channel: Channel, port: socket.socket, count: int) -> list[codec.Message]:
    """Ping the guest and answer, so often, all at once; return the answers."""
    for token in range(count):
        channel.write(owner.session.ping(token))
    port.sendall(b"".join(codec.Pong(token).encode() for token in range(count)))
    return [codec.Pong(token) for token in range(count)]


async def turns_until(condition: Callable[[], bool]) -> None:
    """Check in each turn of the loop whether a condition holds."""
    while not condition():  # noqa: ASYNC110 - nothing sets an event
        await asyncio.sleep(0)


async def test_a_flood_is_handled_in_turns_and_in_order() -> None:
    owner = Owner()
    async with opened(owner) as (channel, port):
        said = flood(owner, channel, port, 5000)
        seen = [0]

        def is_all() -> bool:
            seen.append(len(owner.events))
            return seen[-1] == len(said)

        await turns_until(is_all)
        assert owner.events == said
        assert max(later - sooner for sooner, later in pairwise(seen)) <= FRAMES_PER_TURN
        port.sendall(GOODBYE.encode())  # the channel is read again
        await turns_until(lambda: owner.events[-1] == GOODBYE)


async def test_events_before_the_end_are_delivered_first() -> None:
    owner = Owner()
    async with opened(owner) as (channel, port):
        said = flood(owner, channel, port, 1000)
        port.close()
        await turns_until(lambda: bool(owner.losses))
        assert owner.events == said


async def test_closed_channel_delivers_no_more_events() -> None:
    owner = Owner()
    async with opened(owner) as (channel, port):
        flood(owner, channel, port, 1000)
        await turns_until(lambda: bool(owner.events))
        channel.close()
        await asyncio.sleep(SOON)
        assert len(owner.events) <= FRAMES_PER_TURN
        assert owner.losses == []


async def test_written_data_arrives() -> None:
    async with opened(Owner()) as (channel, port):
        channel.write(b"some")
        channel.write(b"")
        channel.write(b"thing", memoryview(b", in parts"), b"")
        channel.write()
        await asyncio.sleep(SOON)
        assert port.recv(100) == b"something, in parts"


@pytest.mark.parametrize("half", [False, True])
async def test_the_end_of_the_port_is_told_once(half: bool) -> None:
    owner = Owner()
    async with opened(owner) as (channel, port):
        if half:  # the guest still has to read
            channel.write(bytes(1 << 22))
            port.shutdown(socket.SHUT_WR)
        else:
            port.close()
        await asyncio.sleep(SOON)
        (loss,) = owner.losses
        assert isinstance(loss, GuestDied)


async def test_channel_is_full_while_the_guest_reads_nothing() -> None:
    owner = Owner()
    async with opened(owner) as (channel, port):
        full = [channel.is_full]
        channel.write(bytes(1 << 22))
        full.append(channel.is_full)
        left = 1 << 22
        while left:
            left -= len(await asyncio.to_thread(port.recv, 1 << 20))
        await asyncio.sleep(SOON)
        full.append(channel.is_full)
        assert (full, owner.room) == ([False, True, False], 1)


async def test_no_event_follows_a_close_in_an_event() -> None:
    owner = Owner(closes=True)
    async with opened(owner) as (_, port):
        port.sendall(GOODBYE.encode() * 3)
        await asyncio.sleep(SOON)
        assert owner.events == [GOODBYE]
        assert owner.losses == []

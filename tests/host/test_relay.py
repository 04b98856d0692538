"""Tests of connections to a guest whose program for connections is broken or hostile."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Callable

import pytest
from tests.support.hostile_relay import HostileRelay
from tests.support.peer import Peer
from tests.support.polling import comes_true

from microvm.errors import GuestDied, ImageError, StartError, StreamError
from microvm.guest.guest import Guest
from microvm.wire import codec, streams
from microvm.wire.codec import Stream
from microvm.wire.stream_session import WINDOW
from microvm.wire.streams import Connected, Credit, Data, Eof, Refused


@pytest.fixture
def relay(guest: Guest, peer: Peer) -> HostileRelay:
    return HostileRelay(guest, peer)


OPENED = Connected(1, 100)


@pytest.mark.parametrize(
    "sent",
    [
        [OPENED, OPENED],
        [OPENED, Connected(2, 1)],
        [OPENED, Eof(1), Data(1, b"late")],
        [OPENED, *[Data(1, bytes(60000))] * (2 * WINDOW // 60000)],
    ],
    ids=["twice", "unknown id", "after the end", "beyond the credit"],
)
async def test_message_out_of_order_ends_all_streams(
    relay: HostileRelay, guest: Guest, sent: list[streams.Message]
) -> None:
    _, writer = await relay.open(*sent)
    ended = asyncio.create_task(relay.end())
    with pytest.raises(StreamError, match="the connections to the guest failed: the") as caught:
        await writer.wait_closed()
    assert caught.value.errno == errno.EBADMSG
    await ended
    assert guest.error is None


async def test_malformed_message_ends_all_streams(relay: HostileRelay) -> None:
    reader, _ = await relay.open(OPENED)
    ended = asyncio.create_task(relay.end())
    await relay.peer.write(Stream.STDOUT, b"\xff" * 12)
    with pytest.raises(StreamError, match="invalid message"):
        await reader.read()
    await ended


@pytest.mark.parametrize(
    ("status", "kind", "reason"),
    [
        (2, ImageError, "another version of microvm"),
        (1, StreamError, "`relay` in the guest exited with status 1"),
        (0, StreamError, "`relay` in the guest exited with status 0"),
    ],
)
async def test_program_that_exits_is_reported(
    relay: HostileRelay, status: int, kind: type[Exception], reason: str
) -> None:
    opening = asyncio.create_task(relay.open())
    await relay.answered.wait()
    await relay.peer.exit(status)
    with pytest.raises(kind, match=reason):
        await opening


@pytest.mark.parametrize(
    ("number", "kind"), [(errno.ENOENT, ImageError), (errno.ENOMEM, StartError)]
)
async def test_missing_program_is_reported(
    relay: HostileRelay, number: int, kind: type[Exception]
) -> None:
    opening = asyncio.create_task(relay.connections.open(80, 20))
    await relay.peer.expect(codec.ExecRequest)
    await relay.peer.say(codec.ExecFailed(relay.peer.id, codec.Stage.EXEC, number))
    with pytest.raises(kind):
        await opening


async def test_refusal_has_the_error_number_of_the_guest(relay: HostileRelay) -> None:
    opening = asyncio.create_task(relay.open(Refused(1, errno.EMFILE)))
    with pytest.raises(StreamError, match="port 80 in the guest: Too many open files") as caught:
        await asyncio.gather(opening, relay.end())
    assert caught.value.errno == errno.EMFILE
    assert not relay.connections._lock.locked()


async def test_lost_machine_is_the_error_of_its_streams(relay: HostileRelay, guest: Guest) -> None:
    reader, writer = await relay.open(OPENED, Data(1, b"before"))
    assert await reader.readexactly(6) == b"before"
    guest.fail(GuestDied("it crashed"))
    with pytest.raises(GuestDied, match="it crashed"):
        await reader.read()
    with pytest.raises(GuestDied):
        await writer.wait_closed()
    with pytest.raises(GuestDied):
        await relay.connections.open(80, 20)


async def test_tiny_messages_use_little_memory(
    relay: HostileRelay, memory: Callable[[], int]
) -> None:
    """The guest sends many empty and tiny data messages for a stream that is not read."""
    _, writer = await relay.open(OPENED)
    transport = writer.transport
    assert isinstance(transport, asyncio.Transport)
    transport.pause_reading()
    before = memory()
    for _ in range(20):
        await relay.write(*[Data(1, b"x"), Data(1, b"")] * 500)
    await comes_true(lambda: len(getattr(transport, "_unread")) == 10000)  # noqa: B009
    assert memory() - before < 1 << 20
    ended = asyncio.create_task(relay.end())
    transport.abort()
    await writer.wait_closed()
    await ended


@pytest.mark.thorough
async def test_huge_credit_does_not_fill_the_memory(
    relay: HostileRelay, memory: Callable[[], int]
) -> None:
    """The guest allows gigabytes, and then reads nothing."""
    _, writer = await relay.open(OPENED, Credit(1, 0xFFFFFFFF))
    before = memory()

    async def write() -> None:
        while True:
            writer.write(bytes(1 << 16))
            await asyncio.wait_for(writer.drain(), 0.5)

    with pytest.raises(TimeoutError):
        await write()
    assert memory() - before < 16 << 20
    ended = asyncio.create_task(relay.end())
    writer.transport.abort()
    await writer.wait_closed()
    await ended

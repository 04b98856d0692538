"""Tests of ports in a guest whose program `relay` is broken or hostile."""

from __future__ import annotations

import asyncio
import errno
import socket
import threading
from asyncio import StreamReader, StreamWriter

import pytest
from tests.support.hostile_relay import LISTENER, HostileRelay
from tests.support.peer import SOON, Peer

from microvm.errors import GuestDied, StreamError
from microvm.guest import reverse as reverse_module
from microvm.guest.clients import MOST_CLIENTS
from microvm.guest.guest import Guest
from microvm.guest.program import OTHER_SCHEMA
from microvm.sync.reverse import asynchronous
from microvm.wire import codec, streams
from microvm.wire.stream_session import WINDOW
from microvm.wire.streams import (
    Accept,
    Accepted,
    Connected,
    Data,
    Listening,
    NotAccepted,
    NotListening,
    Refused,
    Reset,
)

OPENED = Listening(LISTENER, 7000)
FIRST = LISTENER + 1
"""The id of the first `accept` message."""


@pytest.fixture
def relay(guest: Guest, peer: Peer, monkeypatch: pytest.MonkeyPatch) -> HostileRelay:
    monkeypatch.setattr(reverse_module, "_RETRY", 2 * SOON)
    return HostileRelay(guest, peer)


async def read_all(reader: StreamReader, _: StreamWriter) -> None:
    await reader.read()


@pytest.mark.parametrize(
    "sent",
    [
        [Accepted(FIRST + 1, 1)],
        [Accepted(LISTENER, 1)],
        [Accepted(FIRST, 1), Accepted(FIRST, 1)],
        [Accepted(FIRST, 1), NotAccepted(FIRST, 1)],
        [Connected(FIRST, 1)],
        [Refused(FIRST, 1)],
        [Data(FIRST, b"x")],
        [Data(LISTENER, b"x")],
        [Reset(FIRST)],
        [Reset(LISTENER)],
        [OPENED],
        [NotListening(LISTENER, 1)],
    ],
    ids=str,
)
async def test_message_out_of_order_ends_the_program(
    relay: HostileRelay, guest: Guest, sent: list[streams.Message]
) -> None:
    """The host kills `relay`, and starts it again, because the port must stay open."""
    reverse = await relay.listen(read_all, OPENED)
    assert await relay.hear() == Accept(FIRST, WINDOW, LISTENER)
    await relay.write(*sent)
    await relay.end()
    await relay.started()
    assert await relay.hear() == streams.Listen(LISTENER, 7000)
    await asyncio.gather(reverse.close(), relay.end())
    assert guest.error is None


async def test_port_that_is_opened_again_closes_no_other(relay: HostileRelay) -> None:
    """Ports get other ids when `relay` is started again. So closing a port must use its new id."""
    reverse = await relay.listen(read_all, OPENED)
    assert await relay.hear() == Accept(2, WINDOW, LISTENER)
    opening = asyncio.create_task(relay.connections.reverse(0, read_all, 20))
    assert await relay.hear() == streams.Listen(3, 0)
    await relay.write(Listening(3, 7001))
    other = await opening
    assert await relay.hear() == Accept(4, WINDOW, 3)
    await relay.write(Accepted(2, 1))  # then the host opens the other port first
    assert await relay.hear() == Accept(5, WINDOW, LISTENER)
    await relay.write(Reset(3))
    await relay.end()
    await relay.started()
    assert await relay.hear() == streams.Listen(1, 7001)
    assert await relay.hear() == streams.Listen(2, 7000)
    await relay.write(Listening(1, 7001))
    assert await relay.hear() == Accept(3, WINDOW, 1)
    await reverse.close()
    assert await relay.hear() == Reset(2)
    assert await relay.peer.hears_nothing()
    await asyncio.gather(other.close(), relay.end())


@pytest.mark.parametrize("number", [errno.ENOENT, errno.EAGAIN])
async def test_port_is_opened_again_after_each_failure(relay: HostileRelay, number: int) -> None:
    """The guest's root user can replace `relay`, or leave no process for it."""
    reverse = await relay.listen(read_all, OPENED)
    assert await relay.hear() == Accept(FIRST, WINDOW, LISTENER)
    await relay.peer.exit(OTHER_SCHEMA)
    await relay.peer.expect(codec.ExecRequest)
    await relay.peer.say(codec.ExecFailed(relay.peer.id, codec.Stage.EXEC, number))
    await relay.started()
    assert await relay.hear() == streams.Listen(LISTENER, 7000)
    await relay.write(Listening(LISTENER, 7000))
    assert await relay.hear() == Accept(FIRST, WINDOW, LISTENER)
    await asyncio.gather(reverse.close(), relay.end())


async def test_guest_chooses_no_address(
    relay: HostileRelay, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever a client in the guest sends, the host connects only to the target."""
    called: list[object] = []

    async def connect(*address: object) -> tuple[StreamReader, StreamWriter]:
        called.append(address)
        raise ConnectionRefusedError

    monkeypatch.setattr(asyncio, "open_connection", connect)
    reverse = await relay.listen(("server.example", 80), OPENED)
    assert await relay.hear() == Accept(FIRST, WINDOW, LISTENER)
    for id_ in range(FIRST, FIRST + 20):
        await relay.write(Accepted(id_, 1), Data(id_, b"CONNECT 127.0.0.1:22 HTTP/1.1\r\n\r\n"))
        heard = [await relay.hear() for _ in range(2)]
        assert Reset(id_) in heard
        assert Accept(id_ + 1, WINDOW, LISTENER) in heard
    assert called == [("server.example", 80)] * 20
    await asyncio.gather(reverse.close(), relay.end())


@pytest.mark.thorough
@pytest.mark.parametrize("kind", ["coroutine", "thread"])
async def test_flood_of_clients_is_bounded(relay: HostileRelay, kind: str) -> None:
    """Clients connect and reset their connections at once, but the target serves each for long."""
    served: list[object] = []
    released, thread_released = asyncio.Event(), threading.Event()

    async def stay(_: StreamReader, writer: StreamWriter) -> None:
        served.append(writer)
        await released.wait()

    def stay_in_thread(client: socket.socket) -> None:
        served.append(client)
        thread_released.wait()

    reverse = await relay.listen(
        stay if kind == "coroutine" else asynchronous(stay_in_thread), OPENED
    )
    for id_ in range(FIRST, FIRST + MOST_CLIENTS):
        assert await relay.hear() == Accept(id_, WINDOW, LISTENER)
        await relay.write(Accepted(id_, 1), Reset(id_))
    hearing = asyncio.create_task(relay.hear())
    assert (await asyncio.wait([hearing], timeout=SOON))[1] == {hearing}
    while len(served) < MOST_CLIENTS:  # noqa: ASYNC110 - the threads set no event
        await asyncio.sleep(0)
    assert len(served) == MOST_CLIENTS
    released.set()
    thread_released.set()
    assert await hearing == Accept(FIRST + MOST_CLIENTS, WINDOW, LISTENER)
    await asyncio.gather(reverse.close(), relay.end())


async def test_client_that_resets_is_no_error_of_the_function(relay: HostileRelay) -> None:
    """The function raises a StreamError. The fixture `peer` checks that asyncio does not log it."""
    errors: list[BaseException] = []

    async def read(reader: StreamReader, _: StreamWriter) -> None:
        try:
            await reader.read()
        except StreamError as error:
            errors.append(error)
            raise

    reverse = await relay.listen(read, OPENED)
    assert await relay.hear() == Accept(FIRST, WINDOW, LISTENER)
    await relay.write(Accepted(FIRST, 1), Reset(FIRST))
    assert await relay.hear() == Accept(FIRST + 1, WINDOW, LISTENER)
    await asyncio.gather(reverse.close(), relay.end())
    assert [str(each) for each in errors] == ["port 7000 in the guest: Connection reset by peer"]


async def test_paused_port_is_opened_again(relay: HostileRelay) -> None:
    """`relay` exits during the pause. When the pause ends, another program uses the port."""
    reverse = await relay.listen(read_all, OPENED)
    assert await relay.hear() == Accept(FIRST, WINDOW, LISTENER)
    resume = asyncio.Event()

    async def pause() -> None:
        async with reverse._paused():
            await resume.wait()

    paused = asyncio.create_task(pause())
    await relay.end()
    assert await relay.peer.hears_nothing()
    resume.set()
    for answer in (NotListening(LISTENER, errno.EADDRINUSE), OPENED):
        await relay.started()
        assert await relay.hear() == streams.Listen(LISTENER, 7000)
        await relay.write(answer)
        if answer is not OPENED:
            await relay.end()
            await paused
    assert await relay.hear() == Accept(FIRST, WINDOW, LISTENER)
    await asyncio.gather(reverse.close(), relay.end())


async def test_host_waits_before_it_asks_again(relay: HostileRelay) -> None:
    """The guest refuses each `accept` at once, but the host pauses before the next one."""
    reverse = await relay.listen(read_all, OPENED)
    for id_ in range(FIRST, FIRST + 3):
        assert await relay.hear() == Accept(id_, WINDOW, LISTENER)
        await relay.write(NotAccepted(id_, errno.EMFILE))
        assert await relay.peer.hears_nothing()
    await asyncio.gather(reverse.close(), relay.end())


async def test_port_that_cannot_be_opened(relay: HostileRelay, guest: Guest) -> None:
    opening = asyncio.create_task(relay.listen(read_all, NotListening(LISTENER, errno.EADDRINUSE)))
    with pytest.raises(StreamError, match="the guest cannot listen on port 0: Address") as caught:
        await asyncio.gather(opening, relay.end())
    assert caught.value.errno == errno.EADDRINUSE
    assert guest.error is None


async def test_lost_machine_ends_the_port(relay: HostileRelay, guest: Guest) -> None:
    failed = asyncio.get_running_loop().create_future()

    async def read(reader: StreamReader, _: StreamWriter) -> None:
        try:
            await reader.read()
        except GuestDied as error:
            failed.set_result(error)

    reverse = await relay.listen(read, OPENED)
    await relay.hear()
    await relay.write(Accepted(FIRST, 1))
    await relay.hear()
    guest.fail(GuestDied("it crashed"))
    assert str(await failed) == "it crashed"
    await reverse._accepting
    await reverse.close()

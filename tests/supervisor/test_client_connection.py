"""Tests of a client's connection: it may be slow, hostile, or of another version."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Iterator

import pytest
from tests.support.processes import open_files

from microvm import __version__
from microvm.errors import UsageError
from microvm.supervisor import client_connection, wire
from microvm.supervisor.client import protocol
from microvm.supervisor.client.blocking import BlockingConnection
from microvm.supervisor.client_connection import ClientConnection

Pair = tuple[ClientConnection, socket.socket]


@pytest.fixture
def pair() -> Iterator[Pair]:
    """A connection of the supervisor, and the socket of its client."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    peer = ClientConnection(ours)
    yield peer, theirs
    peer.close()
    theirs.close()


async def test_a_request_arrives_with_its_descriptors(pair: Pair) -> None:
    peer, client = pair
    before = open_files()
    BlockingConnection("one", client).send(protocol.request(name="\udcff"), (0, 1, 2))
    assert (await peer.request())["name"] == "\udcff"
    assert len(peer.descriptors) == 3
    assert not any(map(os.get_inheritable, peer.descriptors))
    peer.close()
    assert open_files().keys() <= before.keys()


async def test_a_request_may_arrive_byte_by_byte(pair: Pair) -> None:
    peer, client = pair
    asking = asyncio.create_task(peer.request())
    for byte in b'{"wire":1,"call":"x"}\n':
        client.send(bytes([byte]))
        await asyncio.sleep(0)
    assert (await asking)["call"] == "x"


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (b"GET / HTTP/1.1\r\n", "a line is invalid"),
        (b"[]\n", "invalid: no object"),
        (b"[" * 200_000 + b"\n", "a line is invalid"),
        (b"\xff\n", "a line is invalid"),
        (
            b"{}\n",
            f"was started by microvm {__version__}, whose wire has version 1; .* version None",
        ),
        (b'{"wire": 2}\n', "client's wire has version 2"),
    ],
)
async def test_an_invalid_request_is_answered(pair: Pair, line: bytes, says: str) -> None:
    peer, client = pair
    sending = asyncio.create_task(asyncio.to_thread(client.sendall, line))
    with pytest.raises(UsageError, match=says):
        await peer.request()
    await sending


async def test_a_too_long_line_is_refused(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "LIMIT", 1000)
    peer, client = pair
    client.sendall(b" " * 100_000)
    with pytest.raises(UsageError, match="a line is too long"):
        await peer.request()


async def test_a_silent_client_times_out(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_connection, "TIMEOUT", 0.01)
    peer, client = pair
    client.send(b"{")
    with pytest.raises(TimeoutError):
        await peer.request()


async def test_start_order_has_no_time_limit(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_connection, "TIMEOUT", 0.001)
    peer, client = pair
    asking = asyncio.create_task(peer.request(timed=False))
    await asyncio.sleep(0.01)
    client.sendall(b'{"wire":1}\n')
    assert await asking == {"wire": 1}


async def test_a_disconnected_client_is_noticed(pair: Pair) -> None:
    peer, client = pair
    client.send(b"{")
    client.close()
    with pytest.raises(EOFError):
        await peer.request()


async def test_unread_reply_is_dropped(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_connection, "TIMEOUT", 0.01)
    peer, client = pair
    await peer.send({"result": "x" * 3_000_000})
    client.close()
    await peer.send({"result": "y"})


async def test_surplus_descriptors_are_refused_and_closed(pair: Pair) -> None:
    peer, client = pair
    before = open_files()
    BlockingConnection("one", client).send(protocol.request(), (0,) * (wire.DESCRIPTORS + 1))
    with pytest.raises(UsageError, match="too many descriptors"):
        await peer.request()
    peer.close()
    assert open_files().keys() <= before.keys()


async def test_pings_between_lines_are_answered(pair: Pair) -> None:
    peer, client = pair
    client.sendall(b'{"wire":1}\n{"ping":7}\n{"signal":2}\n')
    await peer.request()
    client.shutdown(socket.SHUT_WR)
    assert [line async for line in peer.lines()] == [{"signal": 2}]
    assert client.recv(100) == b'{"pong":7}\n'


def test_a_request_that_is_too_long_is_not_sent() -> None:
    message = "cannot send the request to the machine: more than 4 MiB"
    with pytest.raises(UsageError, match=message):
        protocol.request(argv=["x" * wire.LIMIT])

"""Tests that the trace of a channel finds a host that sends a message out of order."""

from __future__ import annotations

import asyncio
import socket

from tests.support.traced_channel import traced_channels

from microvm.wire import codec
from microvm.wire.channel import Channel
from microvm.wire.session import Session


async def faults_of(*sent: bytes) -> list[str]:
    """Return the faults of a host that greets a guest, receives its answer, and sends bytes."""
    heard = asyncio.Event()
    session = Session()
    ours, theirs = socket.socketpair()
    with theirs, traced_channels() as faults:
        channel = Channel(session, lambda _: heard.set(), lambda _: None, lambda: None)
        await channel.connect(ours)
        channel.write(session.hello())
        decoder = codec.Decoder("host")
        decoder.receive_data(theirs.recv(100))
        hello = decoder.next_message()
        assert isinstance(hello, codec.Hello)
        ready = codec.Ready(codec.VERSION, codec.DIGEST, codec.MAX_BODY, hello.nonce)
        theirs.sendall(ready.encode())
        await heard.wait()
        for data in sent:
            channel.write(data)
        channel.close()
        await asyncio.sleep(0)
    return faults


async def test_correct_host_has_no_faults() -> None:
    assert await faults_of(codec.Ping(1).encode(), codec.Shutdown().encode()) == []


async def test_message_about_no_command_is_a_fault() -> None:
    (fault,) = await faults_of(codec.ExecKill(1).encode())
    assert fault.endswith("in the state `new` of `command`, the host sends only `exec_request`")


async def test_message_after_a_shutdown_is_a_fault() -> None:
    (fault,) = await faults_of(codec.Shutdown().encode(), codec.Ping(1).encode())
    assert "in the state `closing` of `session`, the host sends nothing" in fault

"""Tests of the handshake that makes a guest ready, and of wrong answers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from functools import partial

import pytest
from tests.support.peer import SOON, TIMEOUT, Peer, connected

from microvm.errors import GuestDied, MachineError, ProtocolError
from microvm.guest.guest import Guest
from microvm.wire import codec
from microvm.wire.session import Session


@pytest.fixture
async def connection() -> AsyncIterator[tuple[Guest, Peer]]:
    """A guest that is connected, but not ready, and the peer that simulates it."""
    async with connected() as both:
        yield both


async def test_guest_can_be_awaited_again_after_a_timeout(guest: Guest, peer: Peer) -> None:
    with pytest.raises(TimeoutError):
        await guest.ready(SOON)
    await peer.greet()
    await guest.ready(TIMEOUT)
    await peer.expect(codec.Resume)


async def test_guest_gets_time_and_entropy_of_its_session() -> None:
    session = partial(Session, clock=lambda: 7, entropy=lambda size: b"\x05" * size)
    async with connected(session=session) as (guest, peer):
        await asyncio.gather(guest.ready(TIMEOUT), peer.greet())
        assert await peer.expect(codec.Resume) == codec.Resume(7, b"\x05" * 64)


async def test_guest_stays_frozen_until_it_is_resumed(guest: Guest, peer: Peer) -> None:
    await asyncio.gather(guest.ready(TIMEOUT, resume=False), peer.greet())
    assert await peer.hears_nothing()
    guest.resume()
    await peer.expect(codec.Resume)


async def test_a_paused_guest_resumes_before_its_first_command(guest: Guest, peer: Peer) -> None:
    await asyncio.gather(guest.ready(TIMEOUT, resume=False), peer.greet())
    process = guest.exec(["true"])
    await peer.expect(codec.Resume)
    await peer.expect(codec.ExecRequest)
    guest.fail(GuestDied("enough"))
    with pytest.raises(GuestDied):
        await process.wait()


async def test_a_paused_guest_resumes_before_it_is_held(guest: Guest, peer: Peer) -> None:
    await asyncio.gather(guest.ready(TIMEOUT, resume=False), peer.greet())
    with guest.held():
        await peer.expect(codec.Resume)


async def test_guest_that_sends_garbage_is_refused(guest: Guest, peer: Peer) -> None:
    await peer.say(b"login: \r\n\r\n\r\n")
    with pytest.raises(ProtocolError, match="malformed frame"):
        await guest.ready(TIMEOUT)
    assert await peer.is_left()


async def test_commands_are_refused_before_the_guest_is_ready(guest: Guest) -> None:
    with pytest.raises(MachineError):
        guest.exec(["true"])
    with pytest.raises(MachineError):
        await guest.ping()
    with pytest.raises(MachineError):
        await guest.status()
    with pytest.raises(MachineError):
        await guest.keep()
    with pytest.raises(MachineError):
        guest.resume()

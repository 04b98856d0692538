"""Tests of requests that wait for their turn, because the guest runs too many commands."""

from __future__ import annotations

import asyncio

import pytest
from tests.support.options import exec_options
from tests.support.peer import TIMEOUT, Peer

from microvm.errors import MachineError
from microvm.guest.guest import Guest


async def test_waiting_request_fails_with_the_guest(guest: Guest, peer: Peer) -> None:
    guest.waits = True
    await peer.started(await guest.start(["first"], exec_options()))
    waiting = asyncio.create_task(guest.start(["second"], exec_options()))
    await asyncio.sleep(0)
    error = guest.fail(MachineError("it has failed"))
    with pytest.raises(MachineError) as caught:
        await asyncio.wait_for(waiting, TIMEOUT)
    assert caught.value is error

"""Tests of limits of output, and of floods of messages."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Callable
from signal import SIGKILL
from subprocess import PIPE
from typing import Any

import pytest
from tests.support.peer import NO_GRACE, PIECE, SHORT_TIMEOUT, Peer, answered, greeted

from microvm.errors import GuestUnresponsive, OutputLimit
from microvm.guest.guest import Guest
from microvm.guest.run import run
from microvm.wire import codec
from microvm.wire.channel import FRAMES_PER_TURN, Channel
from microvm.wire.codec import Ending, Stream
from microvm.wire.session import Session


@pytest.mark.parametrize("limit", [0, 1, 10, PIECE + 1])
async def test_output_beyond_a_limit_is_cut_and_kills(guest: Guest, peer: Peer, limit: int) -> None:
    async def script() -> None:
        await peer.expect(codec.ExecRequest)
        await peer.write(Stream.STDOUT, b"a" * (limit // 2))
        await peer.write(Stream.STDERR, b"b" * (limit + 100))
        await peer.expect(codec.ExecKill)
        await peer.write(Stream.STDOUT, b"too late")
        await peer.exit(SIGKILL, Ending.SIGNALLED)

    with pytest.raises(OutputLimit) as caught:
        await answered(run(guest, ["yes"], max_output=limit), script())
    assert caught.value.stdout == b"a" * (limit // 2)
    assert caught.value.stderr == b"b" * (limit - limit // 2)
    assert guest.error is None


FLOOD = """
import socket, sys
port, frame = socket.socket(fileno=int(sys.argv[1])), bytes.fromhex(sys.argv[2])
port.setblocking(True)
try:
    while True:
        port.sendall(frame * 10000)
except OSError:
    pass
"""


@pytest.mark.thorough
@pytest.mark.parametrize(
    "frame", [codec.ExecOutput(1, Stream.STDOUT, b"x"), codec.ExecStdinCredit(1, 1)]
)
async def test_flood_delays_neither_deadlines_nor_other_tasks(frame: codec.Message) -> None:
    frames = 0

    def counting(
        session: Session, on_event: Callable[[codec.Message], None], *others: Any
    ) -> Channel:
        def count(event: codec.Message) -> None:
            nonlocal frames
            frames += 1
            on_event(event)

        return Channel(session, count, *others)

    timeouts = NO_GRACE._replace(kill=SHORT_TIMEOUT)
    async with greeted(timeouts=timeouts, channel=counting) as (guest, peer):
        process = await peer.started(guest.exec(["yes"], stdin=PIPE, timeout=SHORT_TIMEOUT))
        command = [sys.executable, "-c", FLOOD, str(peer.port.fileno()), frame.encode().hex()]
        with subprocess.Popen(  # noqa: ASYNC220 - it does not block
            command, pass_fds=[peer.port.fileno()]
        ) as flooder:
            waiting = asyncio.create_task(process.wait())
            reading = asyncio.create_task(process.stdout.read())
            most = 0
            while not waiting.done():
                before = frames
                await asyncio.sleep(0)
                most = max(most, frames - before)
            with pytest.raises(GuestUnresponsive, match="a killed command did not exit"):
                await waiting
            with pytest.raises(GuestUnresponsive, match="a killed command did not exit"):
                await reading
            flooder.kill()
        # Postponed and read data: uvloop handles both between two of our turns.
        assert 0 < most <= 2 * FRAMES_PER_TURN

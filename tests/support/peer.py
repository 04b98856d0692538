"""A guest that a test simulates, and that may break the protocol."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager, suppress
from typing import Any, TypeVar

from microvm.errors import GuestDied
from microvm.guest.guest import Guest
from microvm.guest.process import CompletedProcess, Process
from microvm.guest.streams import OutputStream
from microvm.guest.timeouts import Timeouts
from microvm.wire import codec
from microvm.wire.codec import Ending, Stream

M = TypeVar("M", bound=codec.Message)

PIECE = 65536
SOON = 0.05
"""Maximum number of seconds until an immediate event."""

SHORT_TIMEOUT = 0.5
"""Number of seconds until a time-out, in tests that wait for the time-out."""

SHORT_TIMEOUTS = Timeouts(
    ping_interval=0.02, ping=SHORT_TIMEOUT, kill=SHORT_TIMEOUT, loss_grace=0.0
)
"""The time-outs of a host that pings early and waits only a short time for an answer."""

TIMEOUT = 30.0
"""Maximum number of seconds until an event, even on a busy host."""

NO_GRACE = Timeouts(ping_interval=TIMEOUT, loss_grace=0.0)
"""The time-outs of most tests, for a machine without an owner who knows how it ended.

The first ping comes late, so that no test receives it on a busy host.
"""


class Peer:
    """A simulated guest at the other end of the port, which sends the messages of a test.

    :ivar id: Id of the command that the methods of this object are about: the last requested
        command, unless the test sets another id.
    """

    def __init__(self, port: socket.socket) -> None:
        self.port = port
        self._decoder = codec.Decoder("host")
        self.nonce = 0
        self.id = 0
        self._credits: dict[int, dict[Stream, int]] = {}

    @property
    def credit(self) -> dict[Stream, int]:
        """Credit of the command: number of bytes that may be sent on each of its streams."""
        return self.credit_of(self.id)

    def credit_of(self, id_: int) -> dict[Stream, int]:
        """Return the credit of a command: how many bytes may be sent on each of its streams."""
        return self._credits.get(id_, {})

    async def hear(self) -> codec.Message:
        """Return the next message of the host; raise EOFError if the host has closed the port."""
        while (message := self._decoder.next_message()) is None:
            data = await asyncio.get_running_loop().sock_recv(self.port, 1 << 20)
            if not data:
                raise EOFError
            self._decoder.receive_data(data)
        match message:
            case codec.Hello(nonce=nonce):
                self.nonce = nonce
            case codec.ExecRequest(id=id_, stdout_credit=out, stderr_credit=err):
                self.id = id_
                self._credits[id_] = {Stream.STDOUT: out, Stream.STDERR: err}
            case codec.ExecCredit(id=id_, stream=stream, amount=amount):
                self._credits[id_][stream] += amount
        return message

    async def expect(self, kind: type[M]) -> M:
        """Return the next message, which must have this type."""
        message = await self.hear()
        assert isinstance(message, kind), message
        return message

    async def hears_nothing(self) -> bool:
        """Return True if the host sends nothing for a short time."""
        try:
            async with asyncio.timeout(SOON):
                await self.hear()
        except TimeoutError:
            return True
        return False

    async def say(self, *messages: codec.Message | bytes) -> None:
        data = [m if isinstance(m, bytes) else m.encode() for m in messages]
        await asyncio.get_running_loop().sock_sendall(self.port, b"".join(data))

    async def greet(self, *, digest: int = codec.DIGEST) -> None:
        await self.expect(codec.Hello)
        await self.say(codec.Ready(codec.VERSION, digest, codec.MAX_BODY, self.nonce))

    async def started(self, process: Process) -> Process:
        """Receive the request for a command, and return the process."""
        await self.expect(codec.ExecRequest)
        return process

    async def write(self, stream: Stream, data: bytes) -> None:
        """Write output as fast as the credit of the host allows."""
        view = memoryview(data)
        while view:
            while not self.credit[stream]:
                await self.expect(codec.ExecCredit)
            size = min(len(view), PIECE, self.credit[stream])
            self.credit[stream] -= size
            await self.say(codec.ExecOutput(self.id, stream, view[:size]))
            view = view[size:]

    async def exit(self, status: int, ending: Ending = Ending.EXITED) -> None:
        await self.say(codec.ExecResponse(self.id, ending, status))

    async def play(
        self,
        *,
        stdout: bytes = b"",
        stderr: bytes = b"",
        status: int = 0,
        ending: Ending = Ending.EXITED,
    ) -> None:
        """Simulate a whole command."""
        await self.expect(codec.ExecRequest)
        await self.write(Stream.STDOUT, stdout)
        await self.write(Stream.STDERR, stderr)
        await self.exit(status, ending)

    async def is_killed(self) -> None:
        """Receive the kill of a command, after any other messages."""
        while not isinstance(message := await self.hear(), codec.ExecKill):
            assert isinstance(message, codec.ExecCredit | codec.Ping), message

    async def is_left(self) -> bool:
        """Return True if the host has closed the port."""
        with suppress(EOFError, ConnectionResetError):
            while True:
                await self.hear()
        return True


def pair() -> tuple[socket.socket, socket.socket]:
    """Return the two non-blocking sockets of a connection."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    theirs.setblocking(False)
    return ours, theirs


@asynccontextmanager
async def connected(**options: Any) -> AsyncIterator[tuple[Guest, Peer]]:
    """Yield a connected guest and its simulated peer; check that no error is left unread."""
    unhandled: list[dict[str, Any]] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: unhandled.append(context))
    ours, theirs = pair()
    guest = Guest(**{"timeouts": NO_GRACE, **options})
    await guest.connect(ours)
    try:
        yield guest, Peer(theirs)
    finally:
        guest.fail(GuestDied("the test is over"))
        theirs.close()
        await asyncio.sleep(0)
    assert unhandled == []


async def ready(guest: Guest, peer: Peer) -> None:
    """Answer the hello, and return when the guest is ready."""
    await asyncio.gather(guest.ready(TIMEOUT), peer.greet())
    await peer.expect(codec.Resume)


@asynccontextmanager
async def greeted(**options: Any) -> AsyncIterator[tuple[Guest, Peer]]:
    """Yield a guest that is ready, and its simulated peer."""
    async with connected(**options) as (guest, peer):
        await ready(guest, peer)
        yield guest, peer


async def answered(
    running: Awaitable[CompletedProcess[Any]], playing: Awaitable[None]
) -> CompletedProcess[Any]:
    """Return the result of a command while the peer simulates it."""
    result: CompletedProcess[Any]
    result, _ = await asyncio.gather(running, playing)
    return result


async def arrives(stream: OutputStream, size: int) -> None:
    """Wait until this number of bytes has arrived and is unread."""
    async with asyncio.timeout(TIMEOUT):
        while len(stream._buffer) < size:  # noqa: ASYNC110 - nothing sets an event
            await asyncio.sleep(0.001)

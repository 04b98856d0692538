"""A guest that is played by a test, and need not play fair."""

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
"""The seconds within which something happens that happens at once."""

NO_GRACE = Timeouts(loss_grace=0.0)
"""The product's timeouts, but for a machine that has no owner to say how it ended."""

SHORT_TIMEOUT = 0.5
"""The seconds that a guest has to answer, where a test waits until they are over."""

SHORT_TIMEOUTS = Timeouts(
    ping_interval=0.02, ping=SHORT_TIMEOUT, kill=SHORT_TIMEOUT, loss_grace=0.0
)
"""The timeouts of a host that pings early, and waits only a moment for an answer."""

TIMEOUT = 30.0
"""The seconds within which something must happen, however busy the machine."""


class Peer:
    """The guest's end of the port; it says what the test makes it say."""

    def __init__(self, port: socket.socket) -> None:
        self.port = port
        self._decoder = codec.Decoder("host")
        self.nonce = 0
        self.id = 0
        self.credit: dict[Stream, int] = {}

    async def hear(self) -> codec.Message:
        """The next message of the host; EOFError when it has gone."""
        while (message := self._decoder.next_message()) is None:
            data = await asyncio.get_running_loop().sock_recv(self.port, 1 << 20)
            if not data:
                raise EOFError
            self._decoder.receive_data(data)
        match message:
            case codec.Hello(nonce=nonce):
                self.nonce = nonce
            case codec.ExecRequest(id=id_, stdout_credit=out, stderr_credit=err):
                self.id, self.credit = id_, {Stream.STDOUT: out, Stream.STDERR: err}
            case codec.ExecCredit(stream=stream, amount=amount):
                self.credit[stream] += amount
        return message

    async def expect(self, kind: type[M]) -> M:
        """The next message, which must be of this kind."""
        message = await self.hear()
        assert isinstance(message, kind), message
        return message

    async def hears_nothing(self) -> bool:
        """Tell whether the host stays silent for a moment."""
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
        """Answer the hello."""
        await self.expect(codec.Hello)
        await self.say(codec.Ready(codec.VERSION, digest, codec.MAX_BODY, self.nonce))

    async def started(self, process: Process) -> Process:
        """Hear that a process is started, and give it back."""
        await self.expect(codec.ExecRequest)
        return process

    async def write(self, stream: Stream, data: bytes) -> None:
        """Write output, as far and as soon as it has been paid for."""
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
        """Play a whole command."""
        await self.expect(codec.ExecRequest)
        await self.write(Stream.STDOUT, stdout)
        await self.write(Stream.STDERR, stderr)
        await self.exit(status, ending)

    async def is_killed(self) -> None:
        """Hear the kill of a command, behind what else the host may say meanwhile."""
        while not isinstance(message := await self.hear(), codec.ExecKill):
            assert isinstance(message, codec.ExecCredit | codec.Ping), message

    async def is_left(self) -> bool:
        """Tell whether the host has closed the port."""
        with suppress(EOFError, ConnectionResetError):
            while True:
                await self.hear()
        return True


def pair() -> tuple[socket.socket, socket.socket]:
    """Two ends of a connection that do not block."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    theirs.setblocking(False)
    return ours, theirs


@asynccontextmanager
async def connected(**options: Any) -> AsyncIterator[tuple[Guest, Peer]]:
    """A guest that has been connected to, and who plays it; nothing may go unnoticed."""
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
    """Have it answer the hello."""
    await asyncio.gather(guest.ready(TIMEOUT), peer.greet())
    await peer.expect(codec.Resume)


@asynccontextmanager
async def greeted(**options: Any) -> AsyncIterator[tuple[Guest, Peer]]:
    """A guest that is ready."""
    async with connected(**options) as (guest, peer):
        await ready(guest, peer)
        yield guest, peer


async def answered(
    running: Awaitable[CompletedProcess[Any]], playing: Awaitable[None]
) -> CompletedProcess[Any]:
    """The result of a command, while the other side plays it."""
    result: CompletedProcess[Any]
    result, _ = await asyncio.gather(running, playing)
    return result


async def arrives(stream: OutputStream, size: int) -> None:
    """Wait until this much has come and not been read."""
    async with asyncio.timeout(TIMEOUT):
        while len(stream._buffer) < size:  # noqa: ASYNC110 - nothing sets an event
            await asyncio.sleep(0.001)

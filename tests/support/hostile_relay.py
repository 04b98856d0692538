"""A simulated guest whose program `relay` can break the protocol."""

from __future__ import annotations

import asyncio
import signal
from asyncio import StreamReader, StreamWriter

from microvm.guest.connections import Connections
from microvm.guest.guest import Guest
from microvm.guest.reverse import Reverse, ReverseTarget
from microvm.wire import codec, streams
from microvm.wire.codec import Ending, ExecCredit, ExecStdin, Ping, Stream

from .daemon import PLENTY
from .peer import Peer

LISTENER = 1
"""The id of the listener that the method `listen` opens. The first `accept` has the next id."""


class HostileRelay:
    """A guest whose program `relay` sends the messages that a test chooses.

    :ivar answered: Event that is set when `relay` has answered the first request of the host.
    """

    def __init__(self, guest: Guest, peer: Peer) -> None:
        self.peer = peer
        self.connections = Connections(lambda: guest, object())
        self.answered = asyncio.Event()
        self._decoder = streams.Decoder("host")

    async def started(self) -> None:
        """Wait until the host starts `relay`, and let the host send input.

        First skip input that the host has sent to an earlier `relay` before it knew of its exit.
        """
        while not isinstance(message := await self.peer.hear(), codec.ExecRequest):
            assert isinstance(message, ExecStdin), message
        await self.peer.say(codec.ExecStdinCredit(self.peer.id, PLENTY))
        self._decoder = streams.Decoder("host")

    async def open(self, *messages: streams.Message) -> tuple[StreamReader, StreamWriter]:
        """Connect to a server in the guest; `relay` answers with these messages."""
        opening = asyncio.create_task(self.connections.open(80, 20))
        await self.started()
        await self.peer.expect(ExecStdin)
        await self.write(*messages)
        self.answered.set()
        return await opening

    async def listen(self, target: ReverseTarget, answer: streams.Message) -> Reverse:
        """Open the first listener, on any port; `relay` answers with this message."""
        opening = asyncio.create_task(self.connections.reverse(0, target, 20))
        await self.started()
        assert await self.hear() == streams.Listen(LISTENER, 0)
        await self.write(answer)
        self.answered.set()
        return await opening

    async def hear(self) -> streams.Message:
        """Return the next message that the host sends to `relay`."""
        while (message := self._decoder.next_message()) is None:
            received = await self.peer.hear()
            if isinstance(received, ExecStdin):
                self._decoder.receive_data(bytes(received.data))
        return message

    async def write(self, *messages: streams.Message) -> None:
        await self.peer.write(Stream.STDOUT, b"".join(each.encode() for each in messages))

    async def end(self, status: int = 0) -> None:
        """Wait until the host closes the input of `relay` or kills it, and report its exit."""
        await self.answered.wait()
        while True:
            message = await self.peer.hear()
            if isinstance(message, ExecStdin) and not message.data:
                await self.peer.exit(status)
                return
            if isinstance(message, codec.ExecKill):
                await self.peer.exit(signal.SIGKILL, Ending.SIGNALLED)
                return
            assert isinstance(message, ExecStdin | ExecCredit | Ping), message

    async def ended(self) -> None:
        """Wait until the host knows that `relay` has exited."""
        assert self.connections._relay is not None
        await self.connections._relay.ended.wait()
        await asyncio.sleep(0)  # lets the loop call the functions that `Relay.remove` has stored

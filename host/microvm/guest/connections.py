"""Connections between this process and the servers and clients in one guest."""

from __future__ import annotations

import asyncio
import socket
from asyncio import StreamReader, StreamReaderProtocol, StreamWriter
from collections.abc import Callable
from functools import partial

from microvm.guest.clients import Clients, bridge
from microvm.guest.executor import Executor
from microvm.guest.forward import Forward
from microvm.guest.relay import Relay
from microvm.guest.reverse import Reverse, ReverseTarget
from microvm.wire.stream_session import check_guest_port, check_server


class Connections:
    """Opens connections to servers and clients in a guest, through the guest's program `relay`."""

    def __init__(self, guest: Callable[[], Executor], owner: object) -> None:
        """Create an object without connections.

        :param guest: Function that returns the guest. It is called when `relay` has to be started.
        :param owner: Object that must live while a connection is open, such as the machine.
        """
        self._guest = guest
        self._owner = owner
        self._lock = asyncio.Lock()
        self._relay: Relay | None = None
        self._bridges = set[asyncio.Task[None]]()

    async def open(self, server: int | str, timeout: float) -> tuple[StreamReader, StreamWriter]:
        """Connect to a TCP port of the guest's loopback, or to the path of a Unix socket."""
        check_server(server)
        loop = asyncio.get_running_loop()
        reader = StreamReader(loop=loop)
        protocol = StreamReaderProtocol(reader, loop=loop)
        relay = await self._running_relay()
        transport = await relay.connect(protocol, server, timeout)
        return reader, StreamWriter(transport, protocol, reader, loop)

    async def open_socket(self, server: int | str, timeout: float) -> socket.socket:
        """Connect to a server, and return one end of a pair of sockets.

        A task copies data between the other end and the server.
        """
        guest_end = await self.open(server, timeout)
        ours, theirs = socket.socketpair()
        task = asyncio.create_task(bridge(await asyncio.open_connection(sock=ours), guest_end))
        self._bridges.add(task)
        task.add_done_callback(self._bridges.discard)
        return theirs

    async def forward(
        self,
        port: int,
        server: int | str,
        host: str,
        timeout: float,
        clients: Clients | None = None,
    ) -> Forward:
        """Listen on a port of this host, and connect each client to a server in the guest."""
        check_server(server)
        connect = partial(self.open, server, timeout)
        return await Forward._listen(connect, host, port, clients or Clients())

    async def reverse(
        self,
        port: int,
        target: ReverseTarget,
        timeout: float,
        clients: Clients | None = None,
    ) -> Reverse:
        """Listen on a port of the guest, and connect each client to the target."""
        check_guest_port(port)
        reverse = Reverse._new()._init(
            self._running_relay, port, target, timeout, clients or Clients()
        )
        return await reverse._listen()

    async def _running_relay(self) -> Relay:
        """Return the running `relay`. If it is about to exit or none runs, start another one."""
        async with self._lock:
            if self._relay is not None and self._relay.is_ending:
                await self._relay.ended.wait()
                self._relay = None
            if self._relay is None:
                self._relay = await Relay.start(self._guest(), self._owner)
            return self._relay

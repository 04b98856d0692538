"""Forwards connections to a port of the host to a server in a guest."""

from __future__ import annotations

import asyncio
from asyncio import StreamReader, StreamWriter
from typing import Self

from microvm.guest.clients import Clients, Connect
from microvm.no_constructor import NoConstructor


class Forward(NoConstructor):
    """A port of this host that is forwarded to a server in the guest; `forward` returns it.

    ::

        async with await vm.forward(8080, 80) as forward:
            print("open http://%s:%d" % forward.address)

    :ivar address: Host and port to which clients connect.
    """

    def _init(self, server: asyncio.Server, clients: Clients) -> Self:
        """Set the attributes, and return self.

        :param server: Listening server on the host, to which the clients connect.
        """
        host, port, *_ = server.sockets[0].getsockname()
        self.address: tuple[str, int] = (host, port)
        self._server = server
        self._clients = clients
        return self

    @classmethod
    async def _listen(cls, connect: Connect, host: str, port: int, clients: Clients) -> Self:
        """Listen on a port of this host. Call `connect` for each client, and copy the data.

        :raises OSError: If the port cannot be used.
        """

        async def serve(reader: StreamReader, writer: StreamWriter) -> None:
            await clients.connect((reader, writer), connect)

        return cls._new()._init(await asyncio.start_server(serve, host, port), clients)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Stop listening, and close all connections. Further calls have no effect."""
        self._server.close()
        await self._clients.close()
        await self._server.wait_closed()

"""Forwards connections to a port of the host to a server in a guest."""

from __future__ import annotations

import asyncio
import socket
import struct
from asyncio import StreamReader, StreamWriter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Self, TypeAlias

from microvm.errors import MicroVMError
from microvm.no_constructor import NoConstructor

Ends: TypeAlias = tuple[StreamReader, StreamWriter]

Served: TypeAlias = dict[asyncio.Task[None], list[StreamWriter]]
"""The task of each client, and the writers of its connections.

The first writer leads to the client, the second one to the guest.
"""

_CHUNK = 1 << 16

# Value of the option SO_LINGER in socket(7): closing a TCP connection drops its data and sends a
# reset.
_AT_ONCE = struct.pack("ii", 1, 0)


class Forward(NoConstructor):
    """A port of this host that is forwarded to a server in the guest; `forward` returns it.

    ::

        async with await vm.forward(8080, 80) as forward:
            print("open http://%s:%d" % forward.address)

    :ivar address: Host and port to which clients connect.
    """

    def _init(self, server: asyncio.Server, tasks: Served) -> Self:
        """Set the attributes, and return self.

        :param server: Server that accepts the connections of clients.
        :param tasks: Tasks that forward these connections.
        """
        host, port, *_ = server.sockets[0].getsockname()
        self.address: tuple[str, int] = (host, port)
        self._server = server
        self._tasks = tasks
        return self

    @classmethod
    async def _listen(cls, connect: Callable[[], Awaitable[Ends]], host: str, port: int) -> Self:
        """Listen on a port of this host. Call `connect` for each client, and copy the data.

        :raises OSError: If the port cannot be used.
        """
        tasks: Served = {}

        async def serve(reader: StreamReader, writer: StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None  # noqa: S101 - asyncio runs this function as a task
            writers = tasks[task] = [writer]
            try:
                await _serve(connect, (reader, writer), writers)
            finally:
                del tasks[task]

        return cls._new()._init(await asyncio.start_server(serve, host, port), tasks)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Stop listening, and close all connections. Further calls have no effect."""
        self._server.close()
        tasks = list(self._tasks)
        for task, writers in list(self._tasks.items()):
            if len(writers) == 1:
                task.cancel()
            for writer in writers:
                _reset(writer)
        if tasks:
            await asyncio.wait(tasks)
        await self._server.wait_closed()


async def _serve(
    connect: Callable[[], Awaitable[Ends]], client: Ends, writers: list[StreamWriter]
) -> None:
    """Connect a client to the guest, and copy data until both sides have closed the connection.

    :param writers: List to which the writer of the connection to the guest is added.
    """
    try:
        guest_end = await connect()
    except BaseException as error:
        _reset(client[1])
        if isinstance(error, MicroVMError):
            return
        raise
    writers.append(guest_end[1])
    await bridge(client, guest_end)


async def bridge(one: Ends, other: Ends) -> None:
    """Copy data in both directions between two connections, and close both."""
    writers = (one[1], other[1])
    try:
        await asyncio.gather(_copy(one[0], other[1]), _copy(other[0], one[1]))
    except BaseException as error:
        for writer in writers:
            _reset(writer)
        if not isinstance(error, OSError | MicroVMError):
            raise
    finally:
        for writer in writers:
            writer.close()
            with suppress(OSError, MicroVMError):
                await writer.wait_closed()


def _reset(writer: StreamWriter) -> None:
    """Close a connection, and drop its unsent data. Its peer gets a reset, if it uses TCP."""
    connection = writer.get_extra_info("socket")
    is_open = connection is not None and connection.fileno() >= 0
    if is_open and connection.family != socket.AF_UNIX:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
    writer.transport.abort()


async def _copy(reader: StreamReader, writer: StreamWriter) -> None:
    while data := await reader.read(_CHUNK):
        writer.write(data)
        await writer.drain()
    if not writer.is_closing():
        writer.write_eof()

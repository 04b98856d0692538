"""The clients of a published or reverse port. Each client has a task that serves it."""

from __future__ import annotations

import asyncio
import socket
import struct
from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import TypeAlias

from microvm.errors import MicroVMError

Ends: TypeAlias = tuple[StreamReader, StreamWriter]

Connect: TypeAlias = Callable[[], Awaitable[Ends]]
"""A function that opens a connection to the server for one client, and returns it."""

MOST_CLIENTS = 128
"""Maximum number of clients that are connected to a port at the same time.

The guest's program `relay` has room for twice as many connections. So the clients of one port leave
room for clients of other ports.
"""

_CHUNK = 1 << 16

# Value of the socket option SO_LINGER; see socket(7). With this value, closing a TCP connection
# drops its unsent data and sends a reset.
_AT_ONCE = struct.pack("ii", 1, 0)


class Clients:
    """The clients that are connected to one port, and the tasks that serve them."""

    def __init__(self) -> None:
        """Create the object for a port without clients."""
        # For each task that serves a client, the writers of its connections: the first writer sends
        # to the client, and the second one, if any, to the server.
        self._writers: dict[asyncio.Task[None], list[StreamWriter]] = {}

    async def connect(self, client: Ends, connect: Connect) -> None:
        """Copy data between a client and its server until both have closed the connection.

        If the server cannot be reached, or if too many clients are connected, reset the client's
        connection. Call this method in a task that serves only this client, because `close` may
        cancel that task.
        """
        if len(self._writers) >= MOST_CLIENTS:
            reset(client[1])
            return
        async with self._served(client[1]) as writers:
            try:
                server = await connect()
            except BaseException as error:
                reset(client[1])
                if isinstance(error, OSError | MicroVMError):
                    return
                raise
            writers.append(server[1])
            await bridge(client, server)

    async def call(
        self, client: Ends, function: Callable[[StreamReader, StreamWriter], Awaitable[None]]
    ) -> None:
        """Call a function with a client's connection, and then close the connection.

        If the function raises an error, reset the connection. If the client has already broken the
        connection, ignore the error, because otherwise clients could flood the log. Call this
        method in a task that serves only this client, because `close` may cancel that task.
        """
        async with self._served(client[1]):
            try:
                await function(*client)
            except BaseException as error:
                is_lost = client[1].is_closing()
                reset(client[1])
                if is_lost and isinstance(error, OSError | MicroVMError):
                    return
                raise
            client[1].close()
            with suppress(OSError, MicroVMError):
                await client[1].wait_closed()

    async def close(self) -> None:
        """Reset all connections, and wait until the tasks that serve the clients have ended."""
        tasks = list(self._writers)
        for task, writers in list(self._writers.items()):
            if len(writers) == 1:
                task.cancel()
            for writer in writers:
                reset(writer)
        if tasks:
            await asyncio.wait(tasks)

    @asynccontextmanager
    async def _served(self, writer: StreamWriter) -> AsyncIterator[list[StreamWriter]]:
        """Context manager: list the current task and its writers in `_writers` during its block.

        Yield the list of the writers, to which the block can add the writer of a server.
        """
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - all callers run in a task
        writers = self._writers[task] = [writer]
        try:
            yield writers
        finally:
            del self._writers[task]


async def bridge(one: Ends, other: Ends) -> None:
    """Copy data in both directions between two connections, and close both."""
    writers = (one[1], other[1])
    try:
        await asyncio.gather(_copy(one[0], other[1]), _copy(other[0], one[1]))
    except BaseException as error:
        for writer in writers:
            reset(writer)
        if not isinstance(error, OSError | MicroVMError):
            raise
    finally:
        for writer in writers:
            writer.close()
            with suppress(OSError, MicroVMError):
                await writer.wait_closed()


def reset(writer: StreamWriter) -> None:
    """Close a connection and drop its unsent data. The peer of a TCP connection gets a reset."""
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

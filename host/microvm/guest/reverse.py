"""Opens ports in a guest. The clients of each port are connected to one target on the host."""

from __future__ import annotations

import asyncio
import os
from asyncio import StreamReader, StreamReaderProtocol, StreamWriter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Self, TypeAlias

from microvm.errors import MachineError, MicroVMError, UsageError
from microvm.guest.clients import MOST_CLIENTS, Clients, Ends
from microvm.no_constructor import NoConstructor

if TYPE_CHECKING:
    from microvm.guest.relay import Relay

Serve: TypeAlias = Callable[[Ends], Awaitable[None]]
"""A function that serves one client until its connection is closed."""

ReverseTarget: TypeAlias = (
    tuple[str, int]
    | str
    | os.PathLike[str]
    | Callable[[StreamReader, StreamWriter], Awaitable[None]]
)
"""The target of a reverse port: the host and port of a server, the path of a server's Unix socket,
or a function. The function is called with the reader and the writer of each client.
"""

# Pause in seconds after the guest could not accept a client, or after its program `relay` has
# failed. After the pause, the host tries again.
_RETRY = 1.0


def _server_of(target: ReverseTarget, timeout: float, clients: Clients) -> Serve:
    """Return the function that serves the clients of a reverse port.

    :param timeout: Maximum number of seconds that connecting to a server may take.
    :raises UsageError: If the target is invalid.
    """
    if callable(target):
        return lambda client: clients.call(client, target)

    async def connect() -> Ends:
        async with asyncio.timeout(timeout):
            if isinstance(target, tuple):
                return await asyncio.open_connection(*target)
            return await asyncio.open_unix_connection(target)

    _check(target)
    return lambda client: clients.connect(client, connect)


def _check(target: object) -> None:
    """Raise a UsageError if the target is not a valid address of a server."""
    match target:
        case (str(host), int(port)) if host and 0 < port < 1 << 16:
            return
        case str() | os.PathLike() if "/" in os.fspath(target):
            return
    raise UsageError(
        f"cannot connect to {target!r} on the host",
        hint="name a host and a port such as ('127.0.0.1', 8000), the path of a Unix socket, or a"
        " function",
    )


class Reverse(NoConstructor):
    """A port of a guest whose clients are connected to one target; `reverse` returns it.

    ::

        async with await vm.reverse(8000, ("127.0.0.1", 8000)):
            await vm.run(["wget", "-O-", "http://127.0.0.1:8000/"])

    If the program `relay` in the guest fails, for example because the guest's root user has killed
    it, clients cannot connect until microvm has started it again, about one second later.

    :ivar port: Port of the guest's loopback addresses 127.0.0.1 and ::1.
    """

    _accepting: asyncio.Task[None]

    def _init(
        self,
        start: Callable[[], Awaitable[Relay]],
        port: int,
        target: ReverseTarget,
        timeout: float,
        clients: Clients,
    ) -> Self:
        """Set the attributes, and return self.

        :param start: Function that returns the guest's program `relay`, which it starts if
            necessary.
        """
        self.port = port
        self._start = start
        self._serve = _server_of(target, timeout, clients)
        self._timeout = timeout
        self._clients = clients
        # A hostile guest can open and close connections faster than the target notices it. So this
        # semaphore limits the number of tasks that serve clients.
        self._room = asyncio.Semaphore(MOST_CLIENTS)
        return self

    async def _open(self) -> None:
        relay = await self._start()
        # The id of a listener is valid only in the process `relay` that has opened it. So set
        # `_relay` and `_listener` together, after the listener is open.
        self._listener, self.port = await relay.listen(self.port, self._timeout)
        self._relay = relay

    async def _listen(self) -> Self:
        """Open the port, start the task that serves its clients, and return self."""
        await self._open()
        self._accepting = asyncio.create_task(self._accept_until_failure())
        return self

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the port, and reset all of its connections. Further calls have no effect."""
        self._accepting.cancel()
        await asyncio.wait([self._accepting])
        await self._clients.close()
        await self._relay.close_listener(self._listener)

    @asynccontextmanager
    async def _paused(self) -> AsyncIterator[None]:
        """Context manager: close the port during its block, and then open it again.

        If the port cannot be opened at once, a task tries again until it can.
        """
        try:
            await self.close()
            yield
        finally:
            try:
                with suppress(MicroVMError):
                    await self._open()
            finally:
                self._accepting = asyncio.create_task(self._accept_until_failure())

    async def _accept_until_failure(self) -> None:
        """Serve clients until the machine fails or stops.

        If `relay` fails, start it again after a pause, however often it fails, because the guest's
        root user can kill it at any time.
        """
        while True:
            try:
                if not self._relay.listens(self._listener):
                    await self._open()
                while True:
                    await self._accept()
            except (MachineError, UsageError):  # the machine has failed or stopped
                return
            except MicroVMError:
                await asyncio.sleep(_RETRY)

    async def _accept(self) -> None:
        """Accept a client, and serve it in a task of its own."""
        loop = asyncio.get_running_loop()
        reader = StreamReader(loop=loop)
        protocol = StreamReaderProtocol(reader, self._serve_client, loop)
        await self._room.acquire()
        try:
            await self._relay.accept(self._listener, protocol, self.port)
        except BaseException:
            self._room.release()
            raise

    async def _serve_client(self, reader: StreamReader, writer: StreamWriter) -> None:
        try:
            await self._serve((reader, writer))
        except asyncio.CancelledError:
            # End normally, because nothing waits for this task, and asyncio of Python 3.11 logs an
            # error if it is cancelled.
            pass
        finally:
            self._room.release()

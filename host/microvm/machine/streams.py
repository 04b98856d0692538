"""The methods of a machine for connections to servers in its guest."""

from __future__ import annotations

from typing import TYPE_CHECKING

from microvm import machine
from microvm.machine.commands import CommandMethods
from microvm.units import Duration, parse_duration

if TYPE_CHECKING:
    from asyncio import StreamReader, StreamWriter
    from socket import socket

    from microvm.guest.connections import Connections
    from microvm.guest.forward import Forward

CONNECT_TIMEOUT = 30.0
"""Maximum number of seconds until a server accepts a connection, unless the caller sets it."""

LOOPBACK = "127.0.0.1"
"""Address of this host at which `forward` listens, unless the caller names another one."""


class StreamMethods(CommandMethods):
    """The methods of a machine for connections to servers in its guest.

    Open connections count as one command. While one is open, `run` and `exec` raise `Busy`, so an
    earlier command must have started the server in the background. When the last connection is
    closed and its `wait_closed` has returned, the machine can run the next command.
    """

    _opened: Connections | None = None

    async def connect(
        self, server: int | str, *, timeout: Duration = CONNECT_TIMEOUT
    ) -> tuple[StreamReader, StreamWriter]:
        """Connect to a server in the guest, as `asyncio.open_connection` does.

        ::

            reader, writer = await vm.connect(80)

        Data that the server sends wait in the guest while nobody reads them. `drain` waits while
        the server reads nothing. After `close`, `wait_closed` waits until the server has closed the
        connection, too. If the server neither reads data nor closes its side for a second, the
        connection is reset, and the remaining data are lost.

        :param server: TCP port at the guest's address 127.0.0.1 or else ::1; or the path of a Unix
            socket, to which the guest's root user connects.
        :param timeout: Maximum time until the server accepts the connection, in seconds or as text
            such as `2s`.
        :raises StreamError: If the server cannot be reached; also a ConnectionError.
        :raises Busy: If a command runs in this machine.
        :raises UsageError: If the port, the path or the time is invalid, or if the machine is not
            running.
        :raises ImageError: If the image was built by a version of microvm without this method.
        :raises MachineError: If the machine has failed.
        """
        return await self._connections().open(server, parse_duration(timeout))

    async def forward(
        self,
        port: int,
        server: int | str,
        *,
        host: str = LOOPBACK,
        timeout: Duration = CONNECT_TIMEOUT,
    ) -> Forward:
        """Listen on a port of this host, and connect each client to a server in the guest.

        ::

            async with await vm.forward(8080, 80) as forward: ...

        If the guest cannot connect to the server, the client's connection is reset.

        :param port: Port of this host; 0 chooses a free one, which `Forward.address` contains.
        :param server: Port or path in the guest, as for `connect`.
        :param host: Address of this host. The default admits only programs of this host.
        :param timeout: Maximum time until the server accepts a connection.
        :raises OSError: If the port of this host cannot be used.
        """
        return await self._connections().forward(port, server, host, parse_duration(timeout))

    def _connections(self) -> Connections:
        if self._opened is None:
            self._opened = machine.Connections(self._guest, self)
        return self._opened

    async def _connected_socket(self, server: int | str, timeout: Duration) -> socket:
        """Return a socket that is connected to a server, for `microvm.sync`."""
        return await self._connections().open_socket(server, parse_duration(timeout))

"""The methods of a machine for connections to servers and clients in its guest."""

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
    from microvm.guest.reverse import Reverse, ReverseTarget

CONNECT_TIMEOUT = 30.0
"""Maximum number of seconds until a server accepts a connection, unless the caller sets it."""


LOOPBACK = "127.0.0.1"
"""Address of this host at which `forward` listens, unless the caller names another one."""


class StreamMethods(CommandMethods):
    """The methods of a machine for connections to servers and clients in its guest.

    All open connections together count as one command. With `commands=1`, `run` and `exec` raise
    `Busy` while a connection is open, so start the server in the background, with a command that
    exits before you connect. When the last connection is closed and its `wait_closed` has returned,
    the machine can run the next command.
    """

    _opened: Connections | None = None

    async def connect(
        self, server: int | str, *, timeout: Duration = CONNECT_TIMEOUT
    ) -> tuple[StreamReader, StreamWriter]:
        """Connect to a server in the guest, as `asyncio.open_connection` does.

        ::

            reader, writer = await vm.connect(80)

        While you do not read the server's data, they wait in the guest. `drain` waits while the
        server reads nothing. After `close`, `wait_closed` waits until the server has closed the
        connection, too. The server has a second for this; then the connection is reset. If the
        reset drops unsent data, `wait_closed` raises a StreamError with ETIMEDOUT.

        :param server: TCP port at the guest's address 127.0.0.1 or else ::1; or the path of a Unix
            socket, to which the guest's root user connects.
        :param timeout: Maximum time until the server accepts the connection, in seconds or as text
            such as `2s`.
        :raises StreamError: If the server cannot be reached; also a ConnectionError.
        :raises Busy: If the machine already runs its maximum number of commands.
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

    async def reverse(
        self, guest_port: int, target: ReverseTarget, *, timeout: Duration = CONNECT_TIMEOUT
    ) -> Reverse:
        """Listen on a port of the guest, and connect each client in the guest to one target.

        ::

            async with await vm.reverse(8000, ("127.0.0.1", 8000)): ...

        Then every program in the guest can connect to the target, but to no other address of the
        host or of its networks. The host resolves the name in `target` for each client. If the
        target cannot be reached, the client's connection is reset.

        :param guest_port: Port of the guest's addresses 127.0.0.1 and ::1; 0 lets the guest choose
            a free port, whose number is `Reverse.port`.
        :param target: The server to which the host connects each client: a tuple of host and port,
            or the path of a Unix socket. The target can also be a function, which is called as
            `await target(reader, writer)` for each client. When the function returns, the
            connection is closed.
        :param timeout: Maximum time until the target accepts a connection.
        :raises StreamError: If the guest cannot listen on the port.
        """
        return await self._connections().reverse(guest_port, target, parse_duration(timeout))

    def _connections(self) -> Connections:
        if self._opened is None:
            self._opened = machine.Connections(self._guest, self)
        return self._opened

    async def _connected_socket(self, server: int | str, timeout: Duration) -> socket:
        """Return a socket that is connected to a server, for `microvm.sync`."""
        return await self._connections().open_socket(server, parse_duration(timeout))

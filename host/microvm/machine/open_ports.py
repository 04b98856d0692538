"""The open ports of a machine, for the command line and the supervisors of named machines."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from errno import EADDRNOTAVAIL
from typing import TYPE_CHECKING, Self

from microvm.errors import MicroVMError, errno_text
from microvm.guest.clients import Clients
from microvm.guest.reverse import Reverse
from microvm.machine.streams import CONNECT_TIMEOUT
from microvm.ports import PublishedPort, ReversePort

if TYPE_CHECKING:
    from microvm.machine.base import Machine


class OpenPorts:
    """The open ports of a machine. At the end of its `async with` block, all ports are closed.

    :ivar published: The open ports of this host, which lead to the guest.
    :ivar reverse: The open ports of the guest, which lead to servers.
    """

    def __init__(self, machine: Machine, clients: Callable[[], Clients] = Clients) -> None:
        """Create the object for a machine without open ports.

        :param clients: Function that creates the object `Clients` of a new port.
        """
        self.published: list[PublishedPort] = []
        self.reverse: list[ReversePort] = []
        self._machine = machine
        self._clients = clients
        self._opened = AsyncExitStack()
        self._listening: list[Reverse] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._opened.aclose()

    async def open(
        self, published: Sequence[PublishedPort], reverse: Sequence[ReversePort]
    ) -> tuple[list[PublishedPort], list[ReversePort]]:
        """Open further ports, and return them with the numbers of the chosen ports instead of 0.

        :raises MicroVMError: If a port cannot be opened. Then all ports that this call has opened
            are closed.
        """
        connections = self._machine._connections()
        async with AsyncExitStack() as opened:
            new_published, new_reverse = [], []
            new_listening = []
            for each in published:
                try:
                    forward = await connections.forward(
                        each.port, each.guest, each.host, CONNECT_TIMEOUT, self._clients()
                    )
                except OSError as error:
                    # Replace the text of the error, because it repeats the address. asyncio's error
                    # has no number if the host does not have the address.
                    number = error.errno or EADDRNOTAVAIL
                    reason = errno_text(number) if number > 0 else error.strerror
                    raise MicroVMError(f"cannot listen on {each.source}: {reason}") from None
                await opened.enter_async_context(forward)
                new_published.append(replace(each, port=forward.address[1]))
            for wanted in reverse:
                listening = await connections.reverse(
                    wanted.guest, wanted.target, CONNECT_TIMEOUT, self._clients()
                )
                await opened.enter_async_context(listening)
                new_listening.append(listening)
                new_reverse.append(replace(wanted, guest=listening.port))
            self._opened.push_async_exit(opened.pop_all())
        self.published += new_published
        self.reverse += new_reverse
        self._listening += new_listening
        return new_published, new_reverse

    @asynccontextmanager
    async def reverse_paused(self) -> AsyncIterator[None]:
        """Context manager: close all ports of the guest during its block, then open them again."""
        async with AsyncExitStack() as paused:
            for each in self._listening:
                await paused.enter_async_context(each._paused())
            yield

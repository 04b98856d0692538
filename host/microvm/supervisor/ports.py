"""Opens the ports of a named machine. While a client is connected, the machine is in use."""

from __future__ import annotations

from asyncio import StreamWriter
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING, Any

from microvm.constants import MAX_COMMANDS
from microvm.errors import UsageError
from microvm.guest.clients import Clients
from microvm.machine.open_ports import OpenPorts
from microvm.ports import PublishedPort, ReversePort, facts

if TYPE_CHECKING:
    from microvm.machine.machine import MicroVM
    from microvm.supervisor.queue import CommandQueue


class _CountedClients(Clients):
    """The clients of one port. While one is connected, the queue of commands is not idle."""

    def __init__(self, queue: CommandQueue) -> None:
        super().__init__()
        self._queue = queue

    @asynccontextmanager
    async def _served(self, writer: StreamWriter) -> AsyncIterator[list[StreamWriter]]:
        # Enter the context manager of the base class first, so that `close` also disconnects a
        # client that still waits for the queue.
        async with super()._served(writer) as writers, self._queue.connected():
            yield writers


class SupervisedPorts:
    """The open ports of a named machine.

    One command of the machine serves the ports, and occupies no slot of the queue. So the machine
    must permit one more command than the queue has slots.
    """

    def __init__(self, machine: MicroVM, queue: CommandQueue) -> None:
        """Create the object for a machine without open ports."""
        self._machine = machine
        self._queue = queue
        self._ports = OpenPorts(machine, lambda: _CountedClients(queue))

    async def open(self, published: Sequence[str], reverse: Sequence[str]) -> dict[str, Any]:
        """Open further ports, and return their descriptions, with the numbers of the chosen ports.

        :param published: values of the option `--publish`.
        :param reverse: values of the option `--reverse`.
        :raises UsageError: a value is invalid, or the machine permits no further command, which
            could serve the ports.
        """
        wanted = [*map(PublishedPort.parse, published)], [*map(ReversePort.parse, reverse)]
        if self._machine.commands == self._queue.slots:
            fault = "permits no command for the connections of ports"
            update = f"microvm update {self._queue.name} --commands {MAX_COMMANDS - 1}"
            raise UsageError(
                f"machine {self._queue.name} {fault}",
                hint=f"run `{update}` first, or start the machine with --publish or --reverse",
            )
        new_published, new_reverse = await self._ports.open(*wanted)
        return facts(new_published, new_reverse)

    def reverse_paused(self) -> AbstractAsyncContextManager[None]:
        """Return a context manager that closes all reverse ports during its block.

        Use it to save the guest: a command of the guest serves these ports, and a guest that runs a
        command cannot be saved.
        """
        return self._ports.reverse_paused()

    @property
    def facts(self) -> dict[str, Any]:
        """Descriptions of the open ports, with the member names that docs/json.md defines."""
        return facts(self._ports.published, self._ports.reverse)

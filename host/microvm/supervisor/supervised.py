"""A machine that a supervisor owns and lends to clients, with the clients' uses of it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from microvm.constants import MAX_COMMANDS
from microvm.errors import MachineError
from microvm.supervisor.detached import DetachedCommands
from microvm.supervisor.ending import Ending
from microvm.supervisor.queue import CommandQueue

if TYPE_CHECKING:
    from microvm.machine.machine import MicroVM
    from microvm.supervisor.ports import SupervisedPorts


class SupervisedMachine:
    """A machine of a supervisor, with the commands and connections of its clients.

    :ivar ending: The end of the machine, which clients may ask for.
    :ivar queue: The requests that use the machine, and those that wait for it.
    :ivar detached: The commands that run without a client.
    :ivar ports: The open ports of the machine; None until the first port is opened.
    :ivar facts: The description of the machine for clients, after the start of the machine.
    """

    def __init__(
        self,
        name: str,
        ending: Ending,
        *,
        copier: str = "`microvm cp`",
        opener: str = "`microvm port -R`",
    ) -> None:
        """Create the object for a machine that has not started yet.

        :param name: The name of the machine, for messages.
        :param copier: The command or option that copies files into the machine, for hints.
        :param opener: The command or option that opens ports of the host, for hints.
        """
        self.copier = copier
        self.opener = opener
        self.ending = ending
        self.queue = CommandQueue(name)
        self.detached = DetachedCommands(self.queue)
        self.ports: SupervisedPorts | None = None
        self.facts: dict[str, Any] = {"name": name, "supervisor": os.getpid()}
        self._machine: MicroVM | None = None

    @property
    def machine(self) -> MicroVM:
        """The machine.

        :raises MachineError: the machine has not started, or is stopping. A client that waits in
            the queue also gets this error when the machine stops.
        """
        if self._machine is None or self.ending.begun is not None:
            raise MachineError("the machine was not started")
        return self._machine

    @machine.setter
    def machine(self, machine: MicroVM) -> None:
        self._machine = machine

    async def stop(self) -> None:
        """Stop the machine, in any state."""
        if self._machine is not None:
            await self._machine.stop()

    async def open_ports(self, published: list[str], reverse: list[str]) -> dict[str, Any]:
        """Open ports of the machine, and return their description."""
        from microvm.supervisor.ports import SupervisedPorts  # few machines need it

        if self.ports is None:
            self.ports = SupervisedPorts(self.machine, self.queue)
        return await self.ports.open(published, reverse)

    def permit(self, commands: int) -> None:
        """Change the maximum number of commands that run at the same time.

        Commands that run already continue, also if they are more.
        """
        self.queue.permit(slots(commands, ports=self.ports is not None))

    def ports_facts(self) -> dict[str, Any]:
        """Return descriptions of the machine's open ports."""
        return self.ports.facts if self.ports else {"published": [], "reverse": []}


def slots(commands: int, *, ports: bool) -> int:
    """Return how many of `commands`, the wanted number, clients may run at the same time.

    One command of the guest serves all open ports, so clients cannot use it.
    """
    return min(commands, MAX_COMMANDS - ports)

"""Connectors, which open connections to the supervisor of a named machine."""

from __future__ import annotations

import socket
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from microvm.errors import GuestDied, MachineError, MicroVMError, UsageError
from microvm.printable import quoted
from microvm.supervisor import failures
from microvm.supervisor.client import blocking, protocol
from microvm.supervisor.machine_directory import FACTS, MachineDirectory
from microvm.supervisor.names import NAME_RULE
from microvm.supervisor.runtime_directory import RuntimeDirectory, is_name


class Connector:
    """A connector to the supervisor of one machine, never of a new machine with the same name."""

    def __init__(self, name: str, facts: Mapping[str, Any], lease: str | None = None) -> None:
        """Create a connector for a machine; `facts` is the content of its `machine.json`.

        :param lease: for a machine of a pool, the text that identifies it.
        """
        self.name = name
        self._identity = identity(facts)
        self._fields = {} if lease is None else {"lease": lease}

    def ask(self, request: Mapping[str, Any], descriptors: Sequence[int] = ()) -> socket.socket:
        """Connect to the supervisor, send a request, and return the socket. This can block."""
        line = protocol.request(**request, **self._fields)
        with self._directory() as directory:
            connection = blocking.connect_to(directory)
        try:
            connection.send(line, descriptors)
        except BaseException:
            connection.socket.close()
            raise
        return connection.socket

    def lost(self) -> MachineError:
        """Return the error for a supervisor that has exited, with the reason."""
        try:
            with self._directory() as directory:
                return directory.error()
        except MachineError as error:
            return error

    def silent(self) -> MachineError:
        """Return the error for a supervisor that does not answer."""
        return failures.silent(self.name, self._identity[0] or 0)

    def is_replaced(self) -> bool:
        """Tell whether this machine has ended, and another machine has its name now."""
        with RuntimeDirectory() as runtime, suppress(OSError), runtime.of(self.name) as directory:
            return identity(directory.read(FACTS)) != self._identity
        return False

    def _directory(self) -> MachineDirectory:
        """Open the folder of this connector's machine."""
        with RuntimeDirectory() as runtime:
            try:
                directory = runtime.of(self.name)
            except OSError:
                raise GuestDied(f"machine {self.name} was stopped") from None
        if identity(directory.read(FACTS)) == self._identity:
            return directory
        directory.close()
        raise GuestDied(f"machine {self.name} was stopped; another has its name")


def identity(facts: Mapping[str, Any]) -> tuple[Any, Any]:
    """Return the values in `facts` that tell a machine from an earlier one of the same name."""
    return facts.get("supervisor"), facts.get("started")


def find(name: str) -> tuple[str, dict[str, Any]]:
    """Return the name of a living machine, and the content of its `machine.json`.

    :raises MicroVMError: there is no such machine, or it has ended; the message has the reason.
    """
    if not isinstance(name, str) or not is_name(name):
        raise UsageError(f"{quoted(str(name))} cannot be the name of a machine: {NAME_RULE}")
    with RuntimeDirectory() as runtime, runtime.open(name) as directory:
        if not directory.is_alive():
            raise directory.error()
        facts = directory.read(FACTS)
        if not facts:
            message = f"machine {directory.name} is only just being started"
            raise MicroVMError(message, hint="try again when `microvm start` has printed its name")
        return directory.name, facts


def detached() -> UsageError:
    """Return the error to raise if an attached machine is used after `detach`."""
    return UsageError("this has let go of the machine", hint="attach to it anew")

"""The way to the supervisor of a named machine."""

from __future__ import annotations

import socket
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Protocol

from microvm.errors import GuestDied, MachineError, MicroVMError, UsageError
from microvm.printable import quoted
from microvm.supervisor import wire
from microvm.supervisor.client import blocking
from microvm.supervisor.machine_directory import FACTS, MachineDirectory
from microvm.supervisor.names import NAME_RULE
from microvm.supervisor.runtime_directory import RuntimeDirectory, is_name


class Connector(Protocol):
    """The way to a supervisor.

    :ivar name: of its machine.
    """

    name: str

    def ask(self, request: Mapping[str, Any], descriptors: Sequence[int] = ()) -> socket.socket:
        """Connect to the supervisor, and send it a request; this may take a while.

        :raises MicroVMError: it is not there.
        """
        ...

    def lost(self) -> MachineError:
        """Return why the supervisor has gone."""
        ...

    def silent(self) -> MachineError:
        """Return the error for one that does not answer."""
        ...


class MachineConnector:
    """The way to the supervisor of one machine, which has a name for as long as it is there."""

    def __init__(self, name: str, facts: Mapping[str, Any]) -> None:
        """Prepare it.

        :param facts: what its supervisor has written of it.
        """
        self.name = name
        self._identity = _identity(facts)

    def ask(self, request: Mapping[str, Any], descriptors: Sequence[int] = ()) -> socket.socket:
        """Connect to it, and send it a request; see `Connector.ask`."""
        with self._directory() as directory:
            connection = blocking.connect_to(directory)
        try:
            connection.send({"wire": wire.WIRE, **request}, descriptors)
        except BaseException:
            connection.socket.close()
            raise
        return connection.socket

    def lost(self) -> MachineError:
        """Return why it has gone."""
        try:
            with self._directory() as directory:
                return directory.error()
        except MachineError as error:
            return error

    def silent(self) -> MachineError:
        """Return the error for one that does not answer."""
        return blocking.silent(self.name, self._identity[0] or 0)

    def is_replaced(self) -> bool:
        """Tell whether another machine has its name."""
        with RuntimeDirectory() as runtime, suppress(OSError), runtime.of(self.name) as directory:
            return _identity(directory.read(FACTS)) != self._identity
        return False

    def _directory(self) -> MachineDirectory:
        """Open its folder.

        :raises MachineError: it has none any more.
        """
        with RuntimeDirectory() as runtime:
            try:
                directory = runtime.of(self.name)
            except OSError:
                raise GuestDied(f"machine {self.name} was stopped") from None
        if _identity(directory.read(FACTS)) == self._identity:
            return directory
        directory.close()
        raise GuestDied(f"machine {self.name} was stopped; another has its name")


def _identity(facts: Mapping[str, Any]) -> tuple[Any, Any]:
    """Return what no two machines have in common."""
    return facts.get("supervisor"), facts.get("started")


def find(name: str) -> tuple[str, dict[str, Any]]:
    """Return the name of a machine that lives, and what its supervisor has written of it.

    :raises UsageError: no machine can have this name.
    :raises MicroVMError: there is none, or it is gone; says why.
    """
    if not isinstance(name, str) or not is_name(name):
        raise UsageError(f"{quoted(str(name))} cannot be the name of a machine: {NAME_RULE}")
    with RuntimeDirectory() as runtime, runtime.open(name) as directory:
        if not directory.lives():
            raise directory.error()
        facts = directory.read(FACTS)
        if not facts:
            message = f"machine {directory.name} is only just being started"
            raise MicroVMError(message, hint="try again when `microvm start` has printed its name")
        return directory.name, facts


def detached() -> UsageError:
    """Return the error for who has let go of a machine."""
    return UsageError("this has let go of the machine", hint="attach to it anew")

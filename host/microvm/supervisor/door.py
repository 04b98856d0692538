"""The way to the supervisor of a named machine."""

from __future__ import annotations

import socket
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from microvm.errors import MachineError, MicroVMError, UsageError
from microvm.supervisor import client, wire
from microvm.supervisor.runtime import FACTS, Runtime


class Supervisor(Protocol):
    """The way to a supervisor."""

    def ask(self, request: Mapping[str, Any], descriptors: Sequence[int] = ()) -> socket.socket:
        """Connect to it, and send it a request; this may take a while.

        :raises MicroVMError: it is not there.
        """
        ...

    def lost(self) -> MachineError:
        """Return why it has gone."""
        ...

    def silent(self) -> MachineError:
        """Return the error for one that does not answer."""
        ...


class Named:
    """The way to the supervisor of the machine that has this name."""

    def __init__(self, name: str) -> None:
        self._name = name

    def ask(self, request: Mapping[str, Any], descriptors: Sequence[int] = ()) -> socket.socket:
        """Connect to it, and send it a request; see `Supervisor.ask`."""
        connection = client.connect_again(self._name)
        try:
            connection.send({"wire": wire.WIRE, **request}, descriptors)
        except BaseException:
            connection.socket.close()
            raise
        return connection.socket

    def lost(self) -> MachineError:
        """Return why it has gone."""
        return client.ended(self._name)

    def silent(self) -> MachineError:
        """Return the error for one that does not answer."""
        return client.silent(self._name)


def find(name: str) -> tuple[str, dict[str, Any]]:
    """Return the whole name of a machine that lives, and what its supervisor has written of it.

    :raises MicroVMError: there is none, or it is gone; says why.
    """
    with Runtime() as runtime, runtime.open(name) as place:
        if not place.lives():
            raise place.error()
        facts = place.read(FACTS)
        if not facts:
            message = f"machine {place.name} is only just being started"
            raise MicroVMError(message, hint="try again when `microvm start` has printed its name")
        return place.name, facts


def detached() -> UsageError:
    """Return the error for who has let go of a machine."""
    return UsageError("this has let go of the machine", hint="attach to it anew")

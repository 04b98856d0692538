"""Requests a machine from a named pool.

This module imports very little, because `microvm run --pool` should take no longer than its command
and the start of Python.
"""

from __future__ import annotations

from microvm._version import __version__
from microvm.supervisor import lazy
from microvm.supervisor.client import protocol
from microvm.supervisor.client.blocking import BlockingConnection, connect_to
from microvm.supervisor.runtime_directory import RuntimeDirectory

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Self

    from microvm.supervisor.machine_directory import MachineDirectory


class LeasedMachine:
    """A machine of a named pool that only this process uses. The pool deletes it after `close`.

    :ivar facts: the properties of the machine, and `lease`, which identifies it in requests.
    """

    def __init__(self, name: str) -> None:
        """Lease a machine of the pool `name`.

        :raises MicroVMError: there is no such pool, another version of microvm has started it, it
            has no machine, or it does not answer.
        """
        self._directory = _directory(name)
        try:
            self._connection = connect_to(self._directory, timeout=0)
            # Do not wait for a pool that does not answer, because this process can start a machine.
            self._connection.max_pings = 0
            # Send no descriptors, because a pool that does not answer would keep them open.
            self._connection.send(protocol.request(call="lease"))
            self.facts: dict[str, Any] = self._connection.reply(until="leased")
            check_version(name, self.facts)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def connect(self) -> BlockingConnection:
        """Connect to the supervisor of the pool, to send another request."""
        return connect_to(self._directory)

    def close(self) -> None:
        """Give the machine back; idempotent."""
        self._directory.close()
        if connection := getattr(self, "_connection", None):
            # Shut the connection down first, because a forked process may have the socket, too.
            with lazy.contextlib.suppress(OSError):
                connection.socket.shutdown(2)  # 2 is SHUT_RDWR
            connection.socket.close()


def check_version(name: str, facts: dict[str, Any]) -> None:
    """Check that pool `name`, which `facts` describes, was started by this version of microvm.

    :raises MicroVMError: another version has started it.
    """
    if facts.get("version") != __version__:
        raise lazy.errors.MicroVMError(f"another version of microvm has started pool {name}")


def _directory(name: str) -> MachineDirectory:
    with RuntimeDirectory() as runtime:
        return runtime.open(name, pool=True)

"""The request of a client to a named pool for a machine of its own.

This module imports very little, because `microvm run --pool` should take no longer than its command
and the start of Python.
"""

from __future__ import annotations

from microvm.supervisor.client import protocol
from microvm.supervisor.client.blocking import connect

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from microvm.supervisor.client.blocking import BlockingConnection


def lease(name: str) -> tuple[BlockingConnection, dict[str, Any]]:
    """Ask the pool `name` for a ready machine. Return the connection, and facts of the machine.

    The machine belongs to this process until it closes the connection. The request contains no
    descriptors, so a pool that does not answer keeps none of our streams open.

    :raises MicroVMError: there is no such pool, it has no ready machine, or it does not answer.
    """
    connection = connect(name)
    try:
        # Do not wait for a pool that does not answer, because this process can start a machine.
        connection.max_pings = 0
        connection.send(protocol.request(call="lease"))
        leased: dict[str, Any] = connection.reply(until="leased")
    except BaseException:
        connection.socket.close()
        raise
    return connection, leased

"""The class `PooledVM`: a machine that a named pool lends to this process, and then deletes."""

from __future__ import annotations

from typing import Any

from microvm.errors import MicroVMError
from microvm.images import load
from microvm.supervisor.client import blocking
from microvm.supervisor.client.attached import AttachedVM
from microvm.supervisor.client.connector import Connector
from microvm.supervisor.client.leasing import lease
from microvm.supervisor.machine_directory import FACTS
from microvm.supervisor.runtime_directory import RuntimeDirectory


class PooledVM(AttachedVM):
    """A machine of a named pool that only this process uses. It is deleted at the end of the block.

    :ivar memory: Memory of the guest in bytes.
    :ivar image: Image of the guest.
    """

    def __init__(self, connection: blocking.BlockingConnection, facts: dict[str, Any]) -> None:
        """Use the machine that the pool has lent over `connection`; see `take`."""
        connector = Connector(connection.name, facts, facts["lease"])
        self._use(connector, facts, wait=False)
        self.memory: int = facts["memory"]
        self.image = load(facts["folder"])
        self._lease = connection.socket

    async def detach(self) -> None:
        """Give the machine back to its pool, which deletes it; idempotent."""
        try:
            await super().detach()
        finally:
            self._lease.close()

    async def stop(self) -> None:
        """Give the machine back to its pool, which deletes it; idempotent."""
        await self.detach()


def facts_of(name: str) -> dict[str, Any]:
    """Return the description of a pool, from its file.

    :raises MicroVMError: There is no such pool, or it has ended.
    """
    with RuntimeDirectory() as runtime, runtime.open(name) as directory:
        if not directory.is_alive():
            raise directory.error()
        facts = directory.read(FACTS)
    if "pool" not in facts:
        raise MicroVMError(f"{name} is no pool")
    return facts


def take(name: str) -> PooledVM:
    """Return a machine of the pool `name`, which no other process uses. This can block.

    :raises MicroVMError: The pool does not exist, has no ready machine, or does not answer.
    """
    facts = facts_of(name)
    connection, leased = lease(name)
    return PooledVM(connection, facts | leased)

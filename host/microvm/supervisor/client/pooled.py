"""The class `PooledVM`: a machine of a named pool that only this process uses."""

from __future__ import annotations

from typing import Any

from microvm.errors import MicroVMError
from microvm.images import load
from microvm.supervisor.client.attached import AttachedVM
from microvm.supervisor.client.connector import Connector, identity
from microvm.supervisor.client.leasing import LeasedMachine, check_version
from microvm.supervisor.machine_directory import FACTS
from microvm.supervisor.runtime_directory import RuntimeDirectory


class PooledVM(AttachedVM):
    """A machine of a named pool that only this process uses. It is deleted at the end of the block.

    :ivar memory: Memory of the guest in bytes.
    :ivar image: Image of the guest.
    """

    def __init__(self, name: str, facts: dict[str, Any]) -> None:
        """Lease a machine of the pool `name`, which `facts` describes. This can block.

        :raises MicroVMError: The pool has no machine to lend, has ended, or does not answer.
        """
        self.memory: int = facts["memory"]
        self.image = load(facts["folder"])
        self._leased = LeasedMachine(name)
        try:
            if identity(facts_of(name)) != identity(facts):
                raise MicroVMError(f"another pool has the name {name} now")
            facts = facts | self._leased.facts
            self._use(Connector(name, facts, facts["lease"]), facts, wait=False)
        except BaseException:
            self._leased.close()
            raise

    async def detach(self) -> None:
        """Give the machine back to its pool, which deletes it; idempotent."""
        try:
            await super().detach()
        finally:
            self._leased.close()

    async def stop(self) -> None:
        """Give the machine back to its pool, which deletes it; idempotent."""
        await self.detach()


def facts_of(name: str) -> dict[str, Any]:
    """Return the description of a pool, from its file.

    :raises MicroVMError: There is no such pool, it has ended, or another version of microvm has
        started it.
    """
    with RuntimeDirectory() as runtime, runtime.open(name, pool=True) as directory:
        if not directory.is_alive():
            raise directory.error()
        facts = directory.read(FACTS)
    if not facts:
        raise MicroVMError(f"pool {name} is only just being started")
    check_version(name, facts)
    return facts

"""The class `AttachedPool`: the machines of a named pool, for programs in Python."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from microvm.concurrency.threads import in_thread
from microvm.errors import MicroVMError
from microvm.jobs.lease import MachineLease
from microvm.jobs.machine_pool import MachinePool
from microvm.log import Area
from microvm.machine.machine import MicroVM
from microvm.machine.snapshot import Snapshot
from microvm.supervisor.client.pooled import PooledVM, facts_of

_logger = Area("start")


class AttachedPool(MachinePool):
    """The machines of a named pool; see `Pool.attach`.

    :ivar name: Name of the pool.
    :ivar facts: Description of the pool when it was found, as `microvm pool inspect` shows it.
    """

    def __init__(self, name: str, size: int | None = None) -> None:
        """Find the pool `name`, and use at most `size` of its machines at the same time."""
        facts = self.facts = facts_of(name)
        self.name = name
        most = facts["pool"]["max"] if size is None else size
        # With `spare=0`, this object takes a machine only when a user waits for one. So it keeps no
        # machine that another process needs.
        self._set_up(most, lambda: _PooledLease(name, facts), lambda _: None, spare=0)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}>"


class _PooledLease(MachineLease):
    """A machine that a named pool lends, or if that has none, a new machine of the same kind."""

    def __init__(self, name: str, facts: dict[str, Any]) -> None:
        super().__init__()
        self._name = name
        self._facts = facts

    async def start(self) -> None:
        """Take a machine from the pool, or start one."""
        leasing = asyncio.ensure_future(in_thread(PooledVM, self._name, self._facts))
        try:
            self.vm = await asyncio.shield(leasing)
        except asyncio.CancelledError:
            leasing.add_done_callback(_give_back)
            raise
        except (MicroVMError, OSError) as error:
            _logger.info("pool %s: %s; starting a machine", self._name, error)
            self.vm = machine = _new(self._facts)
            await machine.start()

    async def wait_lost(self) -> None:
        """Return at once, so that a machine without a user goes back to its pool.

        Other processes may need the machine.
        """

    async def stop(self) -> None:
        """Stop the machine, if there is one."""
        if hasattr(self, "vm"):
            await super().stop()


def _give_back(leasing: asyncio.Future[PooledVM]) -> None:
    """Give back the machine that `leasing` has leased for a task that was cancelled."""
    if not leasing.cancelled() and leasing.exception() is None:
        leasing.result()._leased.close()


def _new(facts: dict[str, Any]) -> MicroVM:
    """Return a machine with the options of a pool's machines, which has not been started."""
    snapshot = facts["snapshot"]
    origin = Path(facts["folder"]) if snapshot is None else Snapshot.find(snapshot)
    return MicroVM(origin, **facts["pool"]["options"])

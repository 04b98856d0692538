"""The class `AttachedPool`: the machines of a named pool, for programs in Python."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from microvm.concurrency.threads import in_thread
from microvm.errors import Busy, MicroVMError
from microvm.jobs.lease import MachineLease
from microvm.jobs.machine_pool import MachinePool
from microvm.log import Area
from microvm.machine.machine import MicroVM
from microvm.machine.snapshot import Snapshot
from microvm.supervisor.client.pooled import PooledVM, facts_of
from microvm.system.capacity import usable_cpus

_logger = Area("start")


# Number of seconds for which this process asks a pool for no machine after a request has failed.
# Meanwhile, it starts machines itself. A pool that has no machine ready is asked again at once.
_SILENCE = 30.0


class AttachedPool(MachinePool):
    """The machines of a named pool; see `Pool.attach`.

    :ivar name: Name of the pool.
    :ivar facts: Description of the pool when it was found, as `microvm pool inspect` shows it.
    """

    def __init__(
        self, name: str, size: int | None = None, notify: Callable[[str], None] | None = None
    ) -> None:
        """Find the pool `name`, and use at most `size` of its machines at the same time.

        :param notify: Function that is called with the notices of machines that this process
            starts. None is the default of `MicroVM`.
        """
        facts = self.facts = facts_of(name)
        self.name = name
        self._notify = notify
        self._ask_at = 0.0  # time of the monotonic clock at which the pool is asked again
        most = max(facts["pool"]["max"], usable_cpus()) if size is None else size
        # With `spare=0`, this object takes a machine only when a user waits for one. So it keeps no
        # machine that another process needs.
        self._set_up(most, lambda: _PooledLease(self), notify or (lambda _: None), spare=0)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}>"

    def _lease(self) -> PooledVM:
        """Take a machine of the pool; this can block. The errors are those of `PooledVM`."""
        if time.monotonic() < self._ask_at:
            raise MicroVMError("the last request failed a short time ago")
        try:
            return PooledVM(self.name, self.facts)
        except Busy:
            raise
        except (MicroVMError, OSError):
            self._ask_at = time.monotonic() + _SILENCE
            raise

    def _new(self) -> MicroVM:
        """Return a machine with the options of the pool's machines, which has not been started."""
        facts = self.facts
        snapshot = facts["snapshot"]
        origin = Path(facts["folder"]) if snapshot is None else Snapshot.find(snapshot)
        options: dict[str, Any] = dict(facts["pool"]["options"])
        if self._notify is not None:
            options["notify"] = self._notify
        return MicroVM(origin, **options)


class _PooledLease(MachineLease):
    """A machine that a named pool lends, or if that has none, a new machine of the same kind."""

    def __init__(self, pool: AttachedPool) -> None:
        super().__init__()
        self._pool = pool
        self._abandoned = threading.Event()  # set if nobody waits for the machine any more

    def _lease(self) -> PooledVM:
        leased = self._pool._lease()
        if self._abandoned.is_set():  # the event loop may be closed, so nobody else can do this
            leased._leased.close()
        return leased

    async def start(self, is_wanted: Callable[[], bool]) -> None:
        """Take a machine from the pool, or start one."""
        leasing = asyncio.ensure_future(in_thread(self._lease))
        try:
            self.vm = await asyncio.shield(leasing)
        except asyncio.CancelledError:
            self._abandoned.set()
            leasing.add_done_callback(_give_back)
            raise
        except (MicroVMError, OSError) as error:
            _logger.info("pool %s: %s; starting a machine", self._pool.name, error)
            self.vm = machine = self._pool._new()
            await machine.start()

    async def wait_lost(self) -> None:
        """Return at once, as if the machine had failed.

        So a machine that was leased for a user who no longer waits is given back at once. The pool
        deletes it, and starts another one, which any process can use.
        """

    async def stop(self) -> None:
        """Stop the machine, if there is one."""
        if hasattr(self, "vm"):
            await super().stop()


def _give_back(leasing: asyncio.Future[PooledVM]) -> None:
    """Give back the machine of the request `leasing`, whose task was cancelled meanwhile."""
    if not leasing.cancelled() and leasing.exception() is None:
        leasing.result()._leased.close()

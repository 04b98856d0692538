"""The forks of a machine: machines that start from one snapshot and are stopped together."""

from __future__ import annotations

import asyncio
from typing import Self, Unpack

from microvm.concurrency.tasks import cancel, wait_ended
from microvm.machine.machine import MicroVM
from microvm.machine.snapshot import Snapshot
from microvm.options import PoolOptions
from microvm.system.capacity import usable_cpus


class Forks(list[MicroVM]):
    """A list of running forks of one machine. As a context manager, it stops them at the end."""

    @classmethod
    async def start(cls, snapshot: Snapshot, count: int, **options: Unpack[PoolOptions]) -> Self:
        """Start machines from a snapshot, and wait until all of them are ready.

        At most one machine for each CPU of this host starts at the same time.

        :param options: See `MicroVM`.
        :raises MicroVMError: If a machine cannot be started; see `MicroVM.start`. All machines are
            then stopped.
        """
        forks = cls(MicroVM(snapshot, **options) for _ in range(count))
        starting = asyncio.Semaphore(usable_cpus())

        async def begin(vm: MicroVM) -> None:
            async with starting:
                await vm.start()

        tasks = [asyncio.create_task(begin(vm)) for vm in forks]
        try:
            await asyncio.gather(*tasks)
        except BaseException:
            await cancel(tasks)
            await forks.stop()
            raise
        return forks

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def stop(self) -> None:
        """Stop all machines of the list, in any state. Further calls have no effect."""
        await wait_ended([asyncio.create_task(vm.stop()) for vm in self])

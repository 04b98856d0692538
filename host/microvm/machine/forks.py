"""The forks of a machine: machines that were started from one snapshot, and end together."""

from __future__ import annotations

import asyncio
from typing import Self, Unpack

from microvm.concurrency.tasks import cancel, wait_ended
from microvm.machine.machine import MicroVM
from microvm.machine.snapshot import Snapshot
from microvm.options import PoolOptions
from microvm.system.capacity import usable_cpus


class Forks(list[MicroVM]):
    """A list of machines that run; when its block is left, all of them are stopped."""

    @classmethod
    async def start(cls, snapshot: Snapshot, count: int, **options: Unpack[PoolOptions]) -> Self:
        """Start machines from a snapshot, as many at a time as there are CPUs.

        :param options: see `MicroVM`.
        :raises MicroVMError: one could not be started; see `MicroVM.start`. None is left.
        """
        forks = cls(MicroVM(snapshot, **options) for _ in range(count))
        places = asyncio.Semaphore(usable_cpus())

        async def begin(vm: MicroVM) -> None:
            async with places:
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
        """End all of them, whatever state they are in; idempotent."""
        await wait_ended([asyncio.create_task(vm.stop()) for vm in self])

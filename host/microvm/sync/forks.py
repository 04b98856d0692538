"""The forks of a machine, for programs without `async`."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Self, Unpack

from microvm.machine.snapshot import Snapshot
from microvm.options import PoolOptions
from microvm.sync.machine import MicroVM
from microvm.system.capacity import usable_cpus


class Forks(list[MicroVM]):
    """A list of running forks of one machine. As a context manager, it stops them at the end."""

    @classmethod
    def start(cls, snapshot: Snapshot, count: int, **options: Unpack[PoolOptions]) -> Self:
        """Start machines from a snapshot; see `microvm.Forks.start`."""
        forks = cls(MicroVM(snapshot, **options) for _ in range(count))
        try:
            with ThreadPoolExecutor(usable_cpus()) as starting:
                list(starting.map(MicroVM.start, forks))
        except BaseException:
            forks.stop()
            raise
        return forks

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Stop all machines of the list, in any state. Further calls have no effect."""
        for vm in self:
            vm.stop()

"""The public class `Machine`: the common interface of `MicroVM` and `AttachedVM`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from microvm import machine
from microvm.machine.streams import StreamMethods
from microvm.options import Confinement, MachineOptions
from microvm.qemu.launch import os_errors
from microvm.units import parse_count

if TYPE_CHECKING:
    from microvm.machine.forks import Forks
    from microvm.machine.machine import MicroVM
    from microvm.machine.snapshot import Snapshot


class Machine(StreamMethods):
    """A running machine: a `MicroVM` of this process, or a named machine (`AttachedVM`).

    ::

        async def prepare(vm: Machine) -> None:
            await vm.write_file("/srv/settings", "debug = true")

    Leaving the block stops a `MicroVM`, and detaches from an `AttachedVM`, which continues to run.

    :ivar id: Short text that identifies the machine, such as in the log of a program: the name of
        a named machine, otherwise 12 random hexadecimal digits.
    :ivar confinement: Value of the option `confinement`: how QEMU is restricted on the host.
    :ivar commands: Maximum number of commands that the machine runs at the same time.
    """

    id: str
    confinement: Confinement
    commands: int

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    @property
    def pid(self) -> int | None:
        """The process id of QEMU, or None if the machine is not running."""
        raise NotImplementedError

    async def stop(self) -> None:
        """Stop the machine, also for other processes that use it. Further calls have no effect.

        When this method returns, QEMU has exited and all its temporary files are removed.
        """
        raise NotImplementedError

    async def checkpoint(self, name: str | None = None) -> Snapshot:
        """Save a snapshot of the machine, which continues to run; see `MicroVM.checkpoint`."""
        raise NotImplementedError

    async def fork(self, count: int = 1) -> Forks[MicroVM]:
        """Start machines that continue from the current state of this machine, which keeps running.

        ::

            async with await vm.fork(3) as forks:
                for fork in forks: ...

        This process owns the new machines, which have no names.

        :param count: Number of machines to start.
        :return: List of the machines. Leaving its block, or `Forks.stop`, stops them.
        :raises UsageError: If the count is less than 1.
        :raises MicroVMError: In the same cases as `checkpoint` and `MicroVM.start`. All new
            machines are then stopped.
        """
        count = parse_count(count, least=1)
        with await self.checkpoint() as snapshot, os_errors():
            options: MachineOptions = {"confinement": self.confinement, "commands": self.commands}
            forks = [machine.MicroVM(snapshot, **options) for _ in range(count)]
            return await machine.Forks(forks)._start()

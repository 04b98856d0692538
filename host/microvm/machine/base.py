"""The public class `Machine`: what can be done with a machine, whoever started it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from microvm.machine.commands import CommandMethods
from microvm.options import Confinement
from microvm.units import parse_count

if TYPE_CHECKING:
    from microvm.machine.forks import Forks
    from microvm.machine.snapshot import Snapshot


class Machine(CommandMethods):
    """A machine to be used: a `MicroVM`, which is ours, or an `AttachedVM`, which has a name.

    ::

        async def prepare(vm: Machine) -> None:
            await vm.write_file("/srv/settings", "debug = true")

    Leaving its block ends the first, and lets go of the second.

    :ivar confinement: what was asked for to hold QEMU back.
    """

    confinement: Confinement

    async def __aenter__(self) -> Self:
        raise NotImplementedError

    async def __aexit__(self, *_: object) -> None:
        raise NotImplementedError

    @property
    def pid(self) -> int | None:
        """The process id of QEMU, or None when the machine is not up."""
        raise NotImplementedError

    async def stop(self) -> None:
        """End the machine, for everybody; idempotent.

        When this returns, QEMU is gone and nothing of it is left on the host.
        """
        raise NotImplementedError

    async def checkpoint(self, name: str | None = None) -> Snapshot:
        """Take a snapshot of the machine, which goes on; see `MicroVM.checkpoint`."""
        raise NotImplementedError

    async def fork(self, count: int = 1) -> Forks:
        """Start machines that go on from where this one is, which goes on, too.

        ::

            async with await vm.fork(3) as forks:
                for fork in forks: ...

        They are ours, and have no names.

        :return: a list of them; leaving its block, or `Forks.stop`, ends them.
        :raises UsageError: the count is no whole number from 1 on; nothing has been done.
        :raises MicroVMError: as `checkpoint` and `MicroVM.start` do; then no machine is left of
            them.
        """
        count = parse_count(count, least=1)
        with await self.checkpoint() as snapshot:
            from microvm.machine.forks import Forks
            from microvm.qemu.launch import launch_errors

            with launch_errors():
                return await Forks.start(snapshot, count, confinement=self.confinement)

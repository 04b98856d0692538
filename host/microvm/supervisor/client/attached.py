"""The public class `AttachedVM`: a named machine, which another process runs."""

from __future__ import annotations

from microvm.errors import GuestDied
from microvm.machine.base import Machine
from microvm.machine.snapshot import Snapshot
from microvm.supervisor.client import connector
from microvm.supervisor.client.remote_guest import RemoteGuest


class AttachedVM(Machine):
    """A machine that `microvm start` has started, used like a machine of this process.

    ::

        async with MicroVM.attach("web") as vm:
            result = await vm.run(["echo", "hello"])

    At the end of the block, or after `detach`, the machine continues to run, and only the commands
    of this object are killed. `stop` ends the machine for everybody. All methods of `MicroVM` are
    available, with the same rules. Other processes may use the machine at the same time. So a
    method can raise `Busy` although no command of this object runs. The machine can end at any
    moment, and then a method raises `GuestDied` with the reason.

    :ivar name: the name of the machine.
    :ivar facts: the description of the machine: its image, memory, accelerator and more, as
        `microvm inspect --json` shows them.
    """

    def __init__(self, name: str, *, wait: bool = False) -> None:
        """Find machine `name`. If it is busy, commands raise `Busy`, or wait if `wait` is True."""
        self.name, self.facts = connector.find(name)
        self.confinement = self.facts.get("confinement", "auto")
        self._stopped = False
        self._connector = connector.Connector(self.name, self.facts)
        self._remote = RemoteGuest(self._connector, defaults=self.facts.get("defaults"), wait=wait)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name} of {self.facts.get('image')}>"

    async def __aexit__(self, *_: object) -> None:
        await self.detach()

    @property
    def pid(self) -> int | None:
        """The process id of QEMU."""
        pid: int | None = self.facts.get("qemu")
        return pid

    async def detach(self) -> None:
        """Disconnect from the machine, and kill the commands of this object; idempotent."""
        await self._remote.close()

    async def stop(self) -> None:
        """End the machine, for all processes that use it; idempotent.

        When this returns, QEMU has exited, and none of the machine's files are left on the host.

        :raises UsageError: this object has detached from the machine.
        :raises GuestDied: somebody has ended the machine, and started another one of its name.
        """
        if self._stopped:
            return
        try:
            await self._remote.call("stop")
        except GuestDied:  # do nothing if the machine has already ended
            if self._connector.is_replaced():
                raise
        self._stopped = True
        await self._remote.close(self._connector.lost)

    async def checkpoint(self, name: str | None = None) -> Snapshot:
        """Take a snapshot of the machine, which keeps running; see `MicroVM.checkpoint`.

        :param name: the name under which the snapshot is kept. Without a name, the snapshot is
            removed when it is closed, or when this process exits.
        """
        taken, files = await self._remote.call_for_files("checkpoint", name=name)
        if name is not None:
            snapshot = Snapshot.find(name)
            snapshot.pause = taken["pause"]
            return snapshot
        return Snapshot._from_export(taken, files)

    def _guest(self) -> RemoteGuest:
        return self._remote

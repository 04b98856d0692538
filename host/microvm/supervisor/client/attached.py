"""The public class `AttachedVM`: a named machine, which another process keeps."""

from __future__ import annotations

from typing import Self

from microvm.errors import GuestDied
from microvm.machine.base import Machine
from microvm.machine.snapshot import Snapshot
from microvm.supervisor.client import connector
from microvm.supervisor.client.remote_guest import RemoteGuest


class AttachedVM(Machine):
    """A machine that `microvm start` has left running, used as if it were ours.

    ::

        async with MicroVM.attach("web") as vm:
            result = await vm.run(["echo", "hello"])

    Leaving its block, or `detach`, lets go of the machine, which goes on; only what was still
    running from here is killed. `stop` ends the machine, for everybody. It has the methods of
    `MicroVM`, and its rules; since others may use the machine at the same time, it may be `Busy`
    where none of our commands runs, and may end at any moment: then there is `GuestDied`, with the
    reason.

    :ivar name: the machine's whole name.
    :ivar facts: what is known of it: its image, memory, accelerator and more, as
        `microvm inspect --json` has them.
    """

    def __init__(self, name: str, *, wait: bool = False) -> None:
        """Find the machine; see `MicroVM.attach`."""
        self.name, self.facts = connector.find(name)
        self.confinement = self.facts.get("confinement", "auto")
        self._stopped = False
        self._connector = connector.MachineConnector(self.name, self.facts)
        self._remote = RemoteGuest(self._connector, defaults=self.facts.get("defaults"), wait=wait)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name} of {self.facts.get('image')}>"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.detach()

    @property
    def pid(self) -> int | None:
        """The process id of QEMU."""
        pid: int | None = self.facts.get("qemu")
        return pid

    async def detach(self) -> None:
        """Let go of the machine, which goes on, and kill what runs in it from here; idempotent."""
        await self._remote.close()

    async def stop(self) -> None:
        """End the machine, for everybody; idempotent.

        When this returns, QEMU is gone and nothing of it is left on the host.

        :raises UsageError: this has let go of the machine.
        :raises GuestDied: somebody has ended it, and started another one of its name.
        """
        if self._stopped:
            return
        try:
            await self._remote.call("stop")
        except GuestDied:  # it has ended already
            if self._connector.is_replaced():
                raise
        self._stopped = True
        await self._remote.close(self._connector.lost)

    async def checkpoint(self, name: str | None = None) -> Snapshot:
        """Take a snapshot of the machine, which goes on; see `MicroVM.checkpoint`.

        :param name: one to keep it under; without one it is gone with our process, or when it is
            closed.
        """
        taken, files = await self._remote.call_for_files("checkpoint", name=name)
        if name is not None:
            snapshot = Snapshot.find(name)
            snapshot.pause = taken["pause"]
            return snapshot
        return Snapshot._from_export(taken, files)

    def _guest(self) -> RemoteGuest:
        return self._remote

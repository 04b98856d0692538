"""The public class `AttachedVM`: a named machine, which another process runs."""

from __future__ import annotations

from subprocess import PIPE
from typing import Any, Literal, Unpack, overload

from microvm.errors import GuestDied
from microvm.guest.process import Process
from microvm.machine.base import Machine
from microvm.machine.snapshot import Snapshot
from microvm.option import document_options, options_of, parse_options
from microvm.options import Argv, ExecOptions
from microvm.supervisor.client import connector
from microvm.supervisor.client.detached import DetachedProcess
from microvm.supervisor.client.remote_guest import RemoteGuest


class AttachedVM(Machine):
    """A machine that `microvm start` has started, used like a machine of this process.

    ::

        async with MicroVM.attach("web") as vm:
            result = await vm.run(["echo", "hello"])

    At the end of the block, or after `detach`, the machine continues to run, and only the commands
    of this object are killed, except detached ones. `stop` ends the machine for everybody. All
    methods of `MicroVM` are available, with the same rules. Other processes may use the machine at
    the same time. So a method can raise `Busy` although no command of this object runs. The machine
    can end at any moment, and then a method raises `GuestDied` with the reason.

    :ivar name: the name of the machine, which is also its `id`.
    :ivar facts: the description of the machine: its image, memory, accelerator and more, as
        `microvm inspect --json` shows them.
    """

    def __init__(self, name: str, *, wait: bool = False) -> None:
        """Find machine `name`. If it is busy, commands raise `Busy`, or wait if `wait` is True."""
        name, facts = connector.find(name)
        self._use(connector.Connector(name, facts), facts, wait=wait)

    def _use(self, connector: connector.Connector, facts: dict[str, Any], *, wait: bool) -> None:
        """Use the machine of this connector, with this description."""
        self.name = self.id = connector.name
        self.facts = facts
        self.confinement = facts.get("confinement", "auto")
        self.commands = facts.get("max_commands", 1)
        self._stopped = False
        self._connector = connector
        self._remote = RemoteGuest(
            self._connector,
            defaults=self.facts.get("defaults"),
            wait=wait,
            max_commands=self.commands,
        )

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

    @overload
    async def exec(
        self, argv: Argv, *, detach: Literal[True], **options: Unpack[ExecOptions]
    ) -> DetachedProcess: ...
    @overload
    async def exec(
        self, argv: Argv, *, detach: bool = False, **options: Unpack[ExecOptions]
    ) -> Process: ...
    @document_options(ExecOptions)
    async def exec(
        self, argv: Argv, *, detach: bool = False, **options: Unpack[ExecOptions]
    ) -> Process:
        """Start a command; see `MicroVM.exec`.

        :param detach: Let the command outlive this process, and return a `DetachedProcess`.
        """
        if not detach:
            return await super().exec(argv, **options)
        process = await self._remote.start_detached(
            argv, parse_options(ExecOptions, options, "exec", "detach")
        )
        process._keep_alive_with(self)
        return process

    async def process(self, id: int, *, stdin: int | None = None) -> DetachedProcess:  # noqa: A002
        """Attach to a command that was started with `detach=True` or `microvm exec --detach`.

        The output streams of the result begin with the recent output. Several clients can be
        attached at the same time, but only one to the input.

        :param id: Id of the command, which is `DetachedProcess.id`.
        :param stdin: PIPE to attach to the command's standard input, too.
        :raises ProcessNotFound: If the machine has no such command, or has forgotten it.
        :raises Busy: If `stdin` is PIPE, and another client is attached to the command's input.
        :raises UsageError: If `stdin` is PIPE, and the command was started without input.
        :raises MachineError: If the machine has failed or ended.
        """
        fed = stdin is not None and options_of(ExecOptions)["stdin"].check(stdin) == PIPE
        process = await self._remote.find(id, fed=fed)
        process._keep_alive_with(self)
        return process

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

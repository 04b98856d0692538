"""The methods of the class `MicroVM` for machines with names, which another process runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Unpack

from microvm.option import document_options
from microvm.options import MachineOptions
from microvm.units import Duration

# The supervisor imports the package `microvm.machine`, so import the supervisor only in methods.
if TYPE_CHECKING:
    from microvm.images import Image
    from microvm.machine.snapshot import Snapshot
    from microvm.supervisor.client.attached import AttachedVM


class NamedMachines:
    """The methods that start a machine with a name, or find one."""

    @staticmethod
    def attach(name: str, *, wait: bool = False) -> AttachedVM:
        """Return an object to use a named machine, which was started by `microvm start`.

        ::

            async with MicroVM.attach("web") as vm:
                await vm.run(["echo", "hello"])

        Another process owns the machine. It continues to run when the block is left.

        :param name: Name of the machine.
        :param wait: True to let a command wait until the commands of other users have finished. If
            False, the command raises Busy.
        :raises UsageError: If no machine can have this name.
        :raises MicroVMError: If the machine does not exist, or has stopped.
        """
        from microvm.supervisor.client.attached import AttachedVM

        return AttachedVM(name, wait=wait)

    @staticmethod
    @document_options(MachineOptions)
    async def start_named(
        name: str | None = None,
        image: Image | Snapshot | str | Path | None = None,
        *,
        idle_timeout: Duration | None = None,
        max_age: Duration | None = None,
        **options: Unpack[MachineOptions],
    ) -> AttachedVM:
        """Start a named machine as `microvm start` does, and return an object to use it.

        ::

            async with await MicroVM.start_named("web", memory="512M", idle_timeout="1h") as vm:
                await vm.run(["echo", "hello"])

        Another process owns the machine. It continues to run when the block is left and when this
        process exits, until `AttachedVM.stop`, `microvm stop`, `idle_timeout` or `max_age`.

        :param name: Name of the machine. None chooses a name, which is `AttachedVM.name`.
        :param image: As for `MicroVM`. A snapshot must have a name.
        :param idle_timeout: Stop the machine when it has not been used for this time, in seconds or
            as text such as `10m`.
        :param max_age: Stop the machine after this time, even if commands run in it.
        :raises MicroVMError: If a machine of this name runs, or the machine cannot be started. See
            `start` for its errors.
        """
        from microvm.supervisor.client.attached import AttachedVM
        from microvm.supervisor.client.start_named import start_named

        name = await start_named(name, image, options, idle_timeout, max_age)
        return AttachedVM(name, wait=options.get("wait", False))

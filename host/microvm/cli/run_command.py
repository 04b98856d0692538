"""Implements `microvm run`. QEMU is started before most modules are imported, to save time."""

from __future__ import annotations

import gc
from collections.abc import Sequence
from typing import TYPE_CHECKING

from microvm.cli import names, standard_streams
from microvm.cli.copies import Copies
from microvm.cli.json_result import JsonResult
from microvm.errors import UsageError
from microvm.machine.machine import MicroVM
from microvm.machine.snapshot import Snapshot
from microvm.option import complete_options
from microvm.options import MachineOptions
from microvm.start.snapshots import check_room

if TYPE_CHECKING:
    from microvm.cli.attach import WantedPorts
    from microvm.images import Image
    from microvm.options import ExecOptions


def run(
    command: Sequence[str],
    machine: MachineOptions,
    options: ExecOptions,
    *,
    image: str | None = None,
    snapshot: str | None = None,
    pool: str | None = None,
    save: str | None = None,
    entrypoint: str | None = None,
    standard_input: bool | None = None,
    copies: Copies | None = None,
    wanted: WantedPorts = ((), ()),
    result: JsonResult | None = None,
) -> int:
    """Run a command in a new machine, and return the exit status of this process.

    :param command: Command and arguments, combined with `entrypoint` as described in
        `microvm.images.config.ImageConfig.argv`.
    :param pool: Name of a pool whose machine is used if it fits the other arguments.
    :param save: Name of the snapshot to save; see `AttachedRun`, which also describes the
        parameters `standard_input`, `copies` and `wanted`.
    """
    result = result or JsonResult()
    result.argv = command
    with result.written():
        taken = None
        if pool:
            from microvm.cli import pooled  # few commands use a pool

            taken = pooled.take(pool, machine, image=image, snapshot=snapshot, wanted=wanted)
            if not taken:
                machine, image, snapshot = pooled.same_kind(
                    pool, machine, image=image, snapshot=snapshot
                )
        start = None if snapshot is None or taken else Snapshot.find(snapshot)
        if taken:
            booted = taken.image
        else:
            booted = start._find_image() if start else names.find_image(image, machine.get("arch"))
        argv = result.argv = booted.manifest.config.argv(command, entrypoint)
        if not argv:
            named = (
                "there is no command"
                if image is snapshot is None
                else f"image {image or booted.name} has no command of its own"
            )
            hint = "give a command, as in `microvm run … -- echo hello`"
            raise UsageError(named, hint=hint)
        if save is not None:
            check_room()
        # Disable garbage collection: it would slow down the imports below, and free nothing.
        gc.disable()
        vm = taken or _launched(start or booted, machine)
        # QEMU, which runs already, starts the guest while this process imports these modules.
        import asyncio

        from microvm.cli.attach import AttachedRun

        attached = AttachedRun(
            vm, argv, options, copies or Copies(), save, standard_input, wanted, result
        )
        gc.enable()
        running = attached.status()
        try:
            result.status = asyncio.run(running)
        finally:
            # If Ctrl-C is pressed before the event loop starts, nothing awaits this coroutine.
            # Close it, because Python would print a warning otherwise.
            running.close()
    return result.status


def _launched(origin: Snapshot | Image, options: MachineOptions) -> MicroVM:
    """Return a new machine whose QEMU is starting."""
    options = {**options, "notify": standard_streams.notify}
    machine = MicroVM._from_options(origin, complete_options(MachineOptions, options))
    machine._launch_early()
    return machine

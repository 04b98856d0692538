"""Machines that record their commands and console, which a failed test's report shows."""

from __future__ import annotations

from pathlib import Path
from typing import Unpack

from microvm import sync
from microvm.images import Image
from microvm.machine import machine
from microvm.machine.snapshot import Snapshot
from microvm.options import MachineOptions
from microvm.start.running_vm import RunningVM
from microvm.testing.transcript import Transcript


class MicroVM(machine.MicroVM):
    """A `microvm.MicroVM` that records a transcript of its commands and console."""

    def __init__(
        self, image: Image | Snapshot | str | Path | None = None, **options: Unpack[MachineOptions]
    ) -> None:
        """Check the options, and create an empty transcript; see `microvm.MicroVM`."""
        super().__init__(image, **options)
        self.transcript = Transcript()

    async def _begin(self, running: RunningVM, *, cloned: bool) -> None:
        await super()._begin(running, cloned=cloned)
        running.guest.on_command = self.transcript.add
        self.transcript.console = running.console.tail


class SyncMicroVM(sync.MicroVM):
    """A `microvm.sync.MicroVM` that records a transcript of its commands and console."""

    _original: MicroVM
    _driven = MicroVM

    @property
    def transcript(self) -> Transcript:
        """The transcript of the commands and the console of the machine."""
        return self._original.transcript

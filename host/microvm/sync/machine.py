"""The public class `MicroVM`, without `async`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Self, Unpack

from microvm.concurrency.loop import BackgroundLoop
from microvm.machine import machine
from microvm.machine.snapshot import Snapshot
from microvm.option import document_options
from microvm.options import MachineOptions
from microvm.sync.attached import AttachedVM
from microvm.sync.base import Machine

if TYPE_CHECKING:
    from microvm.images import Image
    from microvm.sync.attached import AttachedVM


class MicroVM(Machine):
    """See :class:`microvm.MicroVM`, which takes the same arguments.

    Its `notify` is called in the machine's own thread. One that nobody holds any more, nor anything
    that came from it, is ended, with a ResourceWarning.
    """

    _driven = machine.MicroVM

    @document_options(MachineOptions)
    def __init__(
        self,
        image: Image | Snapshot | str | Path | None = None,
        **options: Unpack[MachineOptions],
    ) -> None:
        """Check what it is to be; see `microvm.MicroVM`."""
        self._machine: machine.MicroVM = self._driven(image, **options)
        super().__init__(BackgroundLoop(self._machine.stop, self._machine._unclosed_warning))

    @staticmethod
    def attach(name: str, *, wait: bool = False) -> AttachedVM:
        """Return a named machine that is running; see `microvm.MicroVM.attach`."""
        return AttachedVM(name, wait=wait)

    def __repr__(self) -> str:
        return repr(self._machine)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Boot the guest and wait until it is ready; see `microvm.MicroVM.start`."""
        try:
            self._do(self._machine.start())
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End the machine, whatever state it is in; idempotent."""
        self._loop.close()

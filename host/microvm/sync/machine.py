"""The public class `MicroVM` for programs without `async`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Self, Unpack

from microvm.concurrency.loop import BackgroundLoop
from microvm.machine import machine
from microvm.machine.snapshot import Snapshot
from microvm.option import ParsedOptions, document_options
from microvm.options import MachineOptions
from microvm.sync.attached import AttachedVM
from microvm.sync.base import Machine
from microvm.sync.bound import blocking

if TYPE_CHECKING:
    from microvm.images import Image


class MicroVM(Machine):
    """A virtual machine; see `microvm.MicroVM`, which has the same options.

    The function of the option `notify` is called in the thread that runs the machine's event loop.
    A machine that is garbage-collected before it is stopped is killed, with a ResourceWarning.
    """

    _original: machine.MicroVM
    _driven = machine.MicroVM

    @document_options(MachineOptions)
    def __init__(
        self, image: Image | Snapshot | str | Path | None = None, **options: Unpack[MachineOptions]
    ) -> None:
        """Check the options of the machine, without starting it; see `microvm.MicroVM`."""
        self._drive(self._driven(image, **options))

    @classmethod
    def _from_options(
        cls, image: Image | Snapshot | str | Path | None, options: ParsedOptions
    ) -> Self:
        """Create a machine with options that are already checked."""
        vm = cls.__new__(cls)
        vm._drive(cls._driven._from_options(image, options))
        return vm

    def _drive(self, vm: machine.MicroVM) -> None:
        super().__init__(BackgroundLoop(vm.stop, vm._unclosed_warning), vm)

    @staticmethod
    def attach(name: str, *, wait: bool = False) -> AttachedVM:
        """Return an `AttachedVM`, to use a named machine; see `microvm.MicroVM.attach`."""
        return AttachedVM(name, wait=wait)

    @property
    def memory(self) -> int:
        """The memory of the guest in bytes."""
        return self._original.memory

    @property
    def cpus(self) -> int:
        """The number of CPUs of the guest."""
        return self._original.cpus

    @property
    def disk(self) -> int:
        """The size in bytes of the disk for files that the guest writes; 0 without such a disk."""
        return self._original.disk

    @property
    def accel(self) -> str:
        """The accelerator that runs the guest."""
        return self._original.accel

    @property
    def cloned(self) -> bool:
        """True if the machine was cloned, False if it was booted."""
        return self._original.cloned

    @property
    def image(self) -> Image:
        """The image of the machine. It is known as soon as the machine has started."""
        return self._original.image

    wait_lost = blocking(machine.MicroVM.wait_lost)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Clone or boot the guest, and wait until it is ready; see `microvm.MicroVM.start`."""
        try:
            self._do(self._original.start())
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop the machine, in any state. Further calls have no effect."""
        self._loop.close()

"""The public classes `MicroVM` and `AttachedVM` for programs without `async`."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self, Unpack, overload

from microvm.concurrency.loop import BackgroundLoop
from microvm.images import Image
from microvm.machine import machine
from microvm.machine.snapshot import Snapshot
from microvm.option import ParsedOptions, document_options
from microvm.options import Argv, ExecOptions, MachineOptions
from microvm.supervisor.client import attached
from microvm.sync.base import Machine
from microvm.sync.bound import blocking
from microvm.sync.process import DetachedProcess, Process
from microvm.units import Duration


async def _nothing() -> None:
    """Release nothing, because the loop has no resources."""


class AttachedVM(Machine):
    """A named machine; see `microvm.AttachedVM`. `MicroVM.attach` returns it."""

    _original: attached.AttachedVM

    def __init__(self, name: str, *, wait: bool = False) -> None:
        """Find the machine with a name; see `microvm.MicroVM.attach`."""
        machine = attached.AttachedVM(name, wait=wait)
        self.name, self.facts = machine.name, machine.facts
        self._init(BackgroundLoop(machine.detach, str), machine)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.detach()

    @overload
    def exec(
        self, argv: Argv, *, detach: Literal[True], **options: Unpack[ExecOptions]
    ) -> DetachedProcess: ...
    @overload
    def exec(
        self, argv: Argv, *, detach: bool = False, **options: Unpack[ExecOptions]
    ) -> Process: ...
    @document_options(ExecOptions)
    def exec(self, argv: Argv, *, detach: bool = False, **options: Unpack[ExecOptions]) -> Process:
        """Start a command, which may be detached; see `microvm.AttachedVM.exec`."""
        if not detach:
            return super().exec(argv, **options)
        started = self._do(self._original.exec(argv, detach=True, **options))
        return DetachedProcess._new()._init(self._loop, started)

    def process(self, id: int, *, stdin: int | None = None) -> DetachedProcess:  # noqa: A002
        """Attach to a detached command; see `microvm.AttachedVM.process`."""
        found = self._do(self._original.process(id, stdin=stdin))
        return DetachedProcess._new()._init(self._loop, found)

    def detach(self) -> None:
        """Detach from the machine, which continues to run. Further calls have no effect."""
        self._loop.close()

    def stop(self) -> None:
        """Stop the machine, also for other processes that use it. Further calls have no effect."""
        if not self._original._stopped:
            self._do(self._original.stop())
        self.detach()


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
        self._init(BackgroundLoop(vm.stop, vm._unclosed_warning), vm)

    @staticmethod
    def attach(name: str, *, wait: bool = False) -> AttachedVM:
        """Return an `AttachedVM`, to use a named machine; see `microvm.MicroVM.attach`."""
        return AttachedVM(name, wait=wait)

    @staticmethod
    @document_options(MachineOptions)
    def start_named(
        name: str | None = None,
        image: Image | Snapshot | str | Path | None = None,
        *,
        idle_timeout: Duration | None = None,
        max_age: Duration | None = None,
        **options: Unpack[MachineOptions],
    ) -> AttachedVM:
        """Start a named machine, and attach to it; see `microvm.MicroVM.start_named`."""
        starting = machine.MicroVM.start_named(
            name, image, idle_timeout=idle_timeout, max_age=max_age, **options
        )
        loop = BackgroundLoop(_nothing, str)
        try:
            started = loop.run(starting)
        finally:
            loop.close()
        return AttachedVM(started.name, wait=options.get("wait", False))

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


class LeasedVM(MicroVM):
    """A machine whose event loop belongs to another object, such as a pool."""

    def stop(self) -> None:
        """Stop the machine, but not the event loop."""
        self._do(self._original.stop())

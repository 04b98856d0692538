"""The public class `AttachedVM` for programs without `async`."""

from __future__ import annotations

from typing import Self

from microvm.concurrency.loop import BackgroundLoop
from microvm.supervisor.client import attached
from microvm.sync.base import Machine


class AttachedVM(Machine):
    """A named machine; see `microvm.AttachedVM`. `MicroVM.attach` returns it."""

    _original: attached.AttachedVM

    def __init__(self, name: str, *, wait: bool = False) -> None:
        """Find the machine with a name; see `microvm.MicroVM.attach`."""
        machine = attached.AttachedVM(name, wait=wait)
        self.name, self.facts = machine.name, machine.facts
        super().__init__(BackgroundLoop(machine.detach, str), machine)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.detach()

    def detach(self) -> None:
        """Detach from the machine, which continues to run. Further calls have no effect."""
        self._loop.close()

    def stop(self) -> None:
        """Stop the machine, also for other processes that use it. Further calls have no effect."""
        if not self._original._stopped:
            self._do(self._original.stop())
        self.detach()

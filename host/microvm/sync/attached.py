"""The public class `AttachedVM` for programs without `async`."""

from __future__ import annotations

from typing import Self

from microvm.concurrency.loop import BackgroundLoop
from microvm.supervisor.client import attached
from microvm.sync.base import Machine


class AttachedVM(Machine):
    """A named machine; see `microvm.AttachedVM`. `MicroVM.attach` returns it."""

    def __init__(self, name: str, *, wait: bool = False) -> None:
        """Find the machine with a name; see `microvm.MicroVM.attach`."""
        self._machine: attached.AttachedVM = attached.AttachedVM(name, wait=wait)
        self.name, self.facts = self._machine.name, self._machine.facts
        super().__init__(BackgroundLoop(self._machine.detach, str))

    def __repr__(self) -> str:
        return repr(self._machine)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.detach()

    def detach(self) -> None:
        """Detach from the machine, which continues to run. Further calls have no effect."""
        self._loop.close()

    def stop(self) -> None:
        """Stop the machine, also for other processes that use it. Further calls have no effect."""
        if not self._machine._stopped:
            self._do(self._machine.stop())
        self.detach()

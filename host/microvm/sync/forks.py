"""The public class `Forks` for programs without `async`."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack
from typing import Any, Self, TypeVar

from microvm.system.capacity import usable_cpus

T = TypeVar("T", bound=AbstractContextManager[Any, None])


class Forks(list[T]):
    """A list of running forks of one machine or interpreter; see `microvm.Forks`."""

    def _start(self) -> Self:
        """Start all forks of the list; see `microvm.Forks`."""
        try:
            with ThreadPoolExecutor(usable_cpus()) as starting:
                list(starting.map(type(self[0]).__enter__, self))
        except BaseException:
            self.stop()
            raise
        return self

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Stop all forks of the list, in any state. Further calls have no effect."""
        with ExitStack() as stops:
            for fork in self:
                stops.callback(fork.__exit__, None, None, None)

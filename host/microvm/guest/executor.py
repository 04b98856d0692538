"""The interface of an object that runs commands in a guest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from microvm.guest.process import Process
from microvm.option import ParsedOptions
from microvm.options import Text
from microvm.wire import codec


class Executor(Protocol):
    """An object that runs commands in a guest, directly or through the supervisor of a machine.

    See `MicroVM.exec`, `ping` and `status`.
    """

    @property
    def defaults(self) -> Mapping[str, Any]:
        """Values of the options that a command does not set."""

    async def start(self, argv: Sequence[Text], options: ParsedOptions) -> Process:
        """Start a command. Wait first for the exit of a command that was abandoned."""

    async def ping(self, timeout: float) -> None:
        """Wait for the answer of the guest to a ping."""

    async def status(self, timeout: float) -> codec.Status:
        """Return the daemon's counters."""

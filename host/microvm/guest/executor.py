"""The interface of an object that runs commands in a guest."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from microvm.guest.process import Process
from microvm.option import ParsedOptions
from microvm.options import Argv
from microvm.wire import codec


class Executor(Protocol):
    """An object that runs commands in a guest, directly or through another process.

    The other process is the supervisor, which owns a machine with a name.

    See `MicroVM.exec`, `ping` and `status`.
    """

    @property
    def defaults(self) -> Mapping[str, Any]:
        """Default values of options, for commands that do not set these options."""

    async def start(self, argv: Argv, options: ParsedOptions) -> Process:
        """Start a command. If an earlier command was killed, first wait until it has exited."""

    async def ping(self, timeout: float | None) -> None:
        """Send a ping to the guest, and wait for its answer."""

    async def status(self, timeout: float | None) -> codec.Status:
        """Return the counters of the guest's daemon, such as the number of commands."""

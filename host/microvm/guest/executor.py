"""An `Executor` is what runs commands: a guest of ours, or that of a process which has one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, Unpack

from microvm.guest.process import Process
from microvm.options import ExecOptions, Text
from microvm.wire import codec


class Executor(Protocol):
    """A guest, as far as files and commands need one; see `MicroVM.exec`, `ping` and `status`.

    :ivar defaults: what a command has unless its caller says something else.
    """

    defaults: ExecOptions

    async def start(self, argv: Sequence[Text], **options: Unpack[ExecOptions]) -> Process:
        """Start a command, as soon as one that was abandoned is gone."""
        ...

    async def ping(self, timeout: float) -> None:
        """Ask the guest whether it is alive."""
        ...

    async def status(self, timeout: float) -> codec.Status:
        """Return the daemon's counters."""
        ...

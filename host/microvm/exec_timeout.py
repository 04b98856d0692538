"""The error for a command that exceeded its time limit. Import it from `microvm.errors`."""

from __future__ import annotations

from collections.abc import Sequence
from subprocess import TimeoutExpired
from typing import Any

from microvm import errors
from microvm.errors import ExecKilled
from microvm.units import format_duration


class ExecTimeout(ExecKilled, TimeoutExpired, TimeoutError):
    """The command did not finish within its time limit.

    This error is also a `TimeoutError`, and a `TimeoutExpired` of the module `subprocess`.

    :ivar cmd: Arguments of the command, as in `CompletedProcess.args`.
    :ivar timeout: Time limit in seconds.
    :ivar output: The same object as `stdout`.
    """

    __module__ = errors.__name__
    exit_status = 124

    def __init__(
        self, command: str, timeout: float, args: Sequence[str | bytes] | None = None
    ) -> None:
        """Create the error for a command with the arguments `args`; by default only `command`."""
        message = f"{command}: timed out after {format_duration(timeout)}"
        errors.MicroVMError.__init__(self, message)
        self.cmd: Any = [command] if args is None else args
        self.timeout = timeout

    @property
    def output(self) -> Any:
        return self.stdout

    @output.setter
    def output(self, value: Any) -> None:
        self.stdout = value

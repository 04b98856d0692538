"""A `Process` is a command as its user sees it, a `CompletedProcess` what is left of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from signal import SIGKILL, SIGTERM
from subprocess import CalledProcessError
from typing import Generic, Self, TypeVar

from microvm.errors import MicroVMError
from microvm.guest.command import Command
from microvm.guest.streams import KeepAlive, OutputStream

O_co = TypeVar("O_co", bound=bytes | str | None, covariant=True)
"""The type of output: bytes, str, or None where it was not captured."""


@dataclass(frozen=True, slots=True)
class CompletedProcess(Generic[O_co]):
    """The result of a command that has ended, shaped after `subprocess.CompletedProcess`.

    :ivar args: the command line, as it was given.
    :ivar returncode: its exit code, or -N when signal N ended it.
    :ivar stdout: all that it wrote there: bytes, or str where text was asked for, or None where
        nothing was captured.
    :ivar stderr: the same.
    :ivar memory: the most memory that it and all that it had started took at a time, in bytes, or
        None where the guest does not know; see docs/options.md. Two results that differ in nothing
        else are equal.
    """

    args: Sequence[str | bytes]
    returncode: int
    stdout: O_co
    stderr: O_co
    memory: int | None = field(default=None, compare=False)

    def check_returncode(self) -> None:
        """See that the exit code is 0.

        :raises CalledProcessError: of `subprocess`; it is not.
        """
        if self.returncode:
            raise CalledProcessError(self.returncode, self.args, self.stdout, self.stderr)


class Process:
    """A running command; `MicroVM.exec` starts one.

    ::

        async with await vm.exec(["cat"], stdin=PIPE) as process:
            ...

    When such a block is left, by an exception, a cancellation or `break`, whatever still runs is
    killed, and the machine is free for the next command. Without a block, a cancelled `wait` or
    read leaves the command running, as in `asyncio.subprocess`, for as long as somebody holds this
    object or one of its output streams: a command whose process has been dropped is killed, too,
    and the machine's next one waits until it is gone. In an `except` block the error that is being
    handled still holds what its frames held.

    :ivar args: the command line, as it was given.
    :ivar stdin: its standard input, where a pipe or a terminal was asked for.
    :ivar stdout: its standard output; all of a terminal's.
    :ivar stderr: its standard error.
    """

    def __init__(
        self,
        command: Command,
        *,
        send_signal: Callable[[int], None],
        resize: Callable[[int, int], None],
        abandon: Callable[[Command], None],
        dropped: Callable[[], None],
    ) -> None:
        """Wrap a command; `dropped` is called in any thread, when nobody holds this any more."""
        self._command = command
        self._send_signal = send_signal
        self._resize = resize
        self._abandon = abandon
        self._keep_alive = KeepAlive(dropped)
        self.args = command.args
        self.stdin = command.stdin
        self.stdout = OutputStream(command.stdout, self._keep_alive)
        self.stderr = OutputStream(command.stderr, self._keep_alive)

    def __repr__(self) -> str:
        state = "running" if self.returncode is None else f"returncode {self.returncode}"
        return f"<Process {self.args!r}: {state}>"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        if not self._command.ended.is_set():
            self.abandon()
            await self._command.ended.wait()  # a kill has a deadline

    @property
    def returncode(self) -> int | None:
        """The exit code, -N when signal N ended it, or None while it runs.

        Without a status of its own, that of the error which `wait` raises: 127 or 126 for a command
        that could not be started, 125 when the machine died.
        """
        return self._command.returncode

    @property
    def memory(self) -> int | None:
        """The most memory that it took, as `CompletedProcess.memory`; None while it runs."""
        return self._command.memory

    async def wait(self) -> int:
        """Wait for the end of the command, and return its return code.

        Its output is held back when nobody reads it, so read `stdout` and `stderr` meanwhile.

        :raises StartError: it could not be started.
        :raises ExecTimeout: it ran past its deadline, and was killed.
        :raises OutputLimit: it wrote more than it may, and was killed.
        :raises MemoryLimit: it took more memory than it may, and was killed.
        :raises MachineError: the machine died under it.
        """
        await self._command.ended.wait()
        if self._command.error:
            raise self._command.error
        assert self._command.returncode is not None  # noqa: S101 - it ended without an error
        return self._command.returncode

    async def communicate(self, input: bytes | None = None) -> tuple[bytes, bytes]:  # noqa: A002
        """Feed `input` and the end to its standard input, and read its output to the end.

        Like `asyncio.subprocess.Process.communicate`, it does not mind a command that takes less.
        Cancelling it kills the command, since what it has read by then is lost.

        :raises StartError: and what else `wait` raises.
        """
        async with self:
            output = await self._collect(input)
            await self.wait()
        return output

    async def _collect(self, data: bytes | None) -> tuple[bytes, bytes]:
        """Feed and read as `communicate` does; how the command ended is left to `wait`.

        :raises MachineError: the machine died under it.
        """
        _, stdout, stderr = await asyncio.gather(
            self._feed_all(data), self.stdout.read(), self.stderr.read()
        )
        return stdout, stderr

    async def _feed_all(self, data: bytes | None) -> None:
        """Feed data and the end to its standard input, as far as it takes them."""
        if self.stdin is None:
            return
        with suppress(BrokenPipeError):
            self.stdin.write(data or b"")
            self.stdin.close()
            await self.stdin.drain()

    def _record_error(self, error: MicroVMError) -> None:
        """Note what its user is told, for whoever looks at the command later."""
        self._command.error = self._command.error or error

    def _keep_alive_with(self, owner: object) -> None:
        """Hold `owner` for as long as somebody holds this, or one of its output streams."""
        self._keep_alive.owner = owner

    def send_signal(self, signal: int) -> None:
        """Send a signal to the command's process group; nothing happens when it has ended.

        :raises UsageError: no signal has this number.
        """
        if not self._command.ended.is_set():
            self._send_signal(signal)

    def terminate(self) -> None:
        """Send SIGTERM to the command's process group."""
        self.send_signal(SIGTERM)

    def kill(self) -> None:
        """Kill the command and everything that it has started."""
        self.send_signal(SIGKILL)

    def abandon(self) -> None:
        """Kill the command, and drop the output that nobody will read.

        The machine is free for the next one when it is gone.

        If it is not gone within its guest's `Timeouts.kill`, the machine is lost.
        """
        self._abandon(self._command)

    def resize(self, rows: int, columns: int) -> None:
        """Tell the command's terminal its size; nothing happens without one, or when it has ended.

        :raises UsageError: no terminal has this size.
        """
        if not self._command.ended.is_set():
            self._resize(rows, columns)

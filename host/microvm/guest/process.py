"""A running command, as the user of a machine sees it, and the result of a command."""

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
from microvm.guest.streams import KeepAlive, OutputBuffer, OutputStream
from microvm.no_constructor import NoConstructor

O_co = TypeVar("O_co", bound=bytes | str | None, covariant=True)
"""The type of output: bytes, str, or None if it was not captured."""


@dataclass(frozen=True, slots=True)
class CompletedProcess(Generic[O_co]):
    """The result of a command, modelled on `subprocess.CompletedProcess`.

    Two results are equal if they differ only in `memory`.

    :ivar args: Arguments of the command.
    :ivar returncode: Exit code, or -N if signal N killed the command.
    :ivar stdout: Standard output: bytes, str if text was requested, or None if it was not
        captured.
    :ivar stderr: Standard error, in the same form. It is empty if it is part of `stdout`.
    :ivar memory: Peak memory in bytes of the command and all processes that it started, or None if
        the guest does not report it; see docs/options.md.
    :ivar truncated: True if an output stream exceeded `capture_limit`, so that its end is missing.
    """

    args: Sequence[str | bytes]
    returncode: int
    stdout: O_co
    stderr: O_co
    memory: int | None = field(default=None, compare=False)
    truncated: bool = False

    def check_returncode(self) -> None:
        """Check that the exit code is 0.

        :raises CalledProcessError: If it is not; an exception of `subprocess`.
        """
        if self.returncode:
            raise CalledProcessError(self.returncode, self.args, self.stdout, self.stderr)


class Process(NoConstructor):
    """A running command, which `MicroVM.exec` starts.

    ::

        async with await vm.exec(["cat"], stdin=PIPE) as process:
            ...

    When the block is left, also by an exception or a cancellation, a command that still runs is
    killed. The machine can then run the next command.

    Without an `async with` block, cancelling `wait` or a read leaves the command running, as in
    `asyncio.subprocess`. A command is also killed when the last reference to its `Process` and its
    output streams is dropped; the next command of the machine waits for that. Note that in an
    `except` block, the traceback of the error still holds such references.

    :ivar args: Arguments of the command.
    :ivar stdin: Standard input, if a pipe or a terminal was requested; otherwise None.
    :ivar stdout: Standard output, or all output of a terminal or with `stderr=STDOUT`.
    :ivar stderr: Standard error. It is empty if it is part of `stdout`.
    """

    def _init(
        self,
        command: Command,
        *,
        send_signal: Callable[[int], None],
        resize: Callable[[int, int], None],
        abandon: Callable[[Command], None],
        dropped: Callable[[], None],
    ) -> Self:
        """Set the attributes, and return self. The methods call the functions to control `command`.

        :param abandon: Function that kills the command and discards its output.
        :param dropped: Function that is called in any thread when the last reference to this object
            and its output streams is dropped.
        """
        self._command = command
        self._send_signal = send_signal
        self._resize = resize
        self._abandon = abandon
        self._keep_alive = KeepAlive(dropped)
        self.args = command.args
        self.stdin = command.stdin
        self.stdout = self._stream("standard output", command.stdout)
        self.stderr = self._stream("standard error", command.stderr)
        return self

    def _stream(self, name: str, buffer: OutputBuffer) -> OutputStream:
        name = f"{name} of {self._command.name}"
        return OutputStream._new()._init(name, buffer, self._keep_alive)

    def __repr__(self) -> str:
        state = "running" if self.returncode is None else f"returncode {self.returncode}"
        return f"<Process {self.args!r}: {state}>"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        if not self._command.ended.is_set():
            self.abandon()
            # This wait always ends: if the guest does not kill the command in time, the guest
            # counts as lost, which also ends the command.
            await self._command.ended.wait()

    @property
    def returncode(self) -> int | None:
        """Return code of `wait`, without waiting; None until it is known.

        The code is known when the command has exited and all of its output has arrived. It stays
        None while the command waits because nobody reads its output.

        If `wait` raises an error, the code depends on the error: 127 or 126 if the command could
        not be started, 125 if the machine failed.
        """
        return self._command.returncode

    @property
    def memory(self) -> int | None:
        """Peak memory in bytes, as in `CompletedProcess.memory`; None while the command runs."""
        return self._command.memory

    async def wait(self) -> int:
        """Wait until the command exits, and return its return code.

        A command waits while nobody reads its output, so read `stdout` and `stderr` at the same
        time.

        :raises StartError: If the command could not be started.
        :raises ExecTimeout: If it exceeded its time limit and was killed.
        :raises OutputLimit: If it exceeded `max_output` and was killed.
        :raises MemoryLimit: If it exceeded its memory limit and was killed.
        :raises MachineError: If the machine failed.
        """
        await self._command.ended.wait()
        if self._command.error:
            raise self._command.error
        assert self._command.returncode is not None  # noqa: S101 - it ended without an error
        return self._command.returncode

    async def communicate(self, input: bytes | None = None) -> tuple[bytes, bytes]:  # noqa: A002
        """Write `input` to standard input, close it, and read all output.

        Like `asyncio.subprocess.Process.communicate`, it is no error if the command reads only a
        part of the input. Cancelling this call kills the command, because the output that was read
        is lost.

        :raises StartError: If the command could not be started. The other errors are those of
            `wait`.
        """
        async with self:
            _, stdout, stderr = await asyncio.gather(
                self._feed_all(input), self.stdout.read(), self.stderr.read()
            )
            await self.wait()
        return stdout, stderr

    async def _feed_all(self, data: bytes | None) -> None:
        """Write data to the command's standard input, and close this.

        It is no error if the command exits, or closes its input, before it has read all the data.
        """
        if self.stdin is None:
            return
        with suppress(BrokenPipeError):
            self.stdin.write(data or b"")
            self.stdin.close()
            await self.stdin.drain()

    def _record_error(self, error: MicroVMError) -> None:
        """Store `error` as the error of the command, unless the command already has an error."""
        self._command.error = self._command.error or error

    def _keep_alive_with(self, owner: object) -> None:
        """Keep `owner`, such as the machine, alive while this object or a stream of it exists."""
        self._keep_alive.owner = owner

    def send_signal(self, signal: int) -> None:
        """Send a signal to the process group of the command. Do nothing if the command has exited.

        :raises UsageError: If the signal does not exist.
        """
        if not self._command.ended.is_set():
            self._send_signal(signal)

    def terminate(self) -> None:
        """Send SIGTERM to the process group of the command."""
        self.send_signal(SIGTERM)

    def kill(self) -> None:
        """Kill the command and every process that it started."""
        self.send_signal(SIGKILL)

    def abandon(self) -> None:
        """Kill the command, and discard its unread output.

        The machine can run the next command when this one has exited. If that takes longer than
        `Timeouts.kill`, the guest counts as lost.
        """
        self._abandon(self._command)

    def resize(self, rows: int, columns: int) -> None:
        """Set the size of the command's terminal. Do nothing if it has no terminal or has exited.

        :raises UsageError: If a terminal cannot have this size.
        """
        if not self._command.ended.is_set():
            self._resize(rows, columns)

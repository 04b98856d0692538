"""The methods of a machine that run commands in its guest and ask for the guest's state."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Unpack, overload

from microvm import machine
from microvm.machine.files import FileMethods
from microvm.option import ParsedOptions, document_options, parse_options
from microvm.options import (
    Argv,
    BytesRunOptions,
    EncodedRunOptions,
    ExecOptions,
    RunOptions,
    TextRunOptions,
    UncapturedRunOptions,
)
from microvm.units import Duration, parse_duration

if TYPE_CHECKING:
    from microvm.guest.process import CompletedProcess, Process
    from microvm.guest.status import GuestStatus


class CommandMethods(FileMethods):
    """The methods of a machine that run commands and ask for the guest's state."""

    @document_options(ExecOptions)
    async def exec(self, argv: Argv, **options: Unpack[ExecOptions]) -> Process:
        """Start a command, and return a `Process` to read its output and to wait for it.

        Use it as `async with await vm.exec(...) as process`. Leaving the block kills the command if
        it still runs. If the machine already runs its maximum number of commands, but one of them
        was cancelled or dropped, this method first waits until that command has exited.

        :param argv: Arguments of the command. The first one is the name of the program. With the
            option `shell`, a command line instead.
        :raises Busy: If the machine already runs its maximum number of commands.
        :raises UsageError: If an option or an argument is invalid or too long, if there is no
            command, or if the machine is not running.
        :raises TypeError: If an option does not exist.
        :raises MachineError: If the machine has failed.
        """
        return await self._exec(argv, parse_options(ExecOptions, options, "exec"))

    async def _exec(self, argv: Argv, options: ParsedOptions) -> Process:
        process = await self._guest().start(argv, options)
        process._keep_alive_with(self)
        return process

    @overload
    async def run(
        self, argv: Argv, **options: Unpack[UncapturedRunOptions]
    ) -> CompletedProcess[None]: ...
    @overload
    async def run(self, argv: Argv, **options: Unpack[TextRunOptions]) -> CompletedProcess[str]: ...
    @overload
    async def run(
        self, argv: Argv, **options: Unpack[EncodedRunOptions]
    ) -> CompletedProcess[str]: ...
    @overload
    async def run(
        self, argv: Argv, **options: Unpack[BytesRunOptions]
    ) -> CompletedProcess[bytes]: ...
    @overload
    async def run(self, argv: Argv, **options: Unpack[RunOptions]) -> CompletedProcess[Any]: ...
    @document_options(RunOptions)
    async def run(self, argv: Argv, **options: Unpack[RunOptions]) -> CompletedProcess[Any]:
        """Run a command until it exits, and return its return code and output.

        :param argv: Arguments of the command. The first one is the name of the program. With the
            option `shell`, a command line instead.
        :raises UsageError: As by `exec`, or if both `input` and `stdin` are given.
        :raises TypeError: If an option does not exist.
        :raises CalledProcessError: If `check` is set and the exit status is not 0.
        :raises UnicodeError: In text mode, if the input or the output cannot be converted.
        :raises OSError: If the output cannot be written to the standard streams of this process.
        :raises StartError: If the command could not be started; see also `check_start`.
        :raises ExecTimeout: If the command exceeded `timeout`. The error contains the output.
        :raises OutputLimit: If the command exceeded `max_output`. The error contains the output.
        :raises MemoryLimit: If the command exceeded `max_memory`. The error contains the output.
        :raises Busy: If the machine already runs its maximum number of commands.
        :raises MachineError: If the machine has failed.
        """
        return await machine.run(self._guest(), argv, **options)

    async def _run(self, argv: Argv, options: ParsedOptions) -> CompletedProcess[Any]:
        return await machine.run_parsed(self._guest(), argv, options)

    async def ping(self, timeout: Duration | None = None) -> None:
        """Check that the guest answers.

        :param timeout: Maximum time for the answer, in seconds or as text such as `2s`; by default
            8 seconds, which MICROVM_PATIENCE multiplies.
        :raises GuestUnresponsive: If the guest does not answer in time.
        :raises UsageError: If the machine is not running.
        :raises MachineError: If the machine has failed.
        """
        seconds = None if timeout is None else parse_duration(timeout)
        await self._guest().ping(seconds)

    async def status(self, timeout: Duration | None = None) -> GuestStatus:
        """Return the counters of the guest's daemon.

        :param timeout: Maximum time for the answer, in seconds or as text such as `2s`; by default
            8 seconds, which MICROVM_PATIENCE multiplies.
        :raises GuestUnresponsive: If the guest does not answer in time.
        :raises UsageError: If the machine is not running.
        :raises MachineError: If the machine has failed.
        """
        seconds = None if timeout is None else parse_duration(timeout)
        counters = await self._guest().status(seconds)
        return machine.GuestStatus(**machine.asdict(counters))

"""The methods of a machine that are about commands, and about the guest that runs them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Unpack, overload

from microvm.guest.timeouts import TIMEOUTS
from microvm.machine.files import FileMethods
from microvm.option import ParsedOptions, document_options, parse_options
from microvm.options import (
    BytesRunOptions,
    EncodedRunOptions,
    ExecOptions,
    RunOptions,
    Text,
    TextRunOptions,
    UncapturedRunOptions,
)
from microvm.units import Duration, parse_duration

# The rest is imported with the first command, so that a machine starts without it.
if TYPE_CHECKING:
    from microvm.guest.process import CompletedProcess, Process
    from microvm.guest.status import GuestStatus


class CommandMethods(FileMethods):
    """The commands of a machine, one at a time, and beside them what its guest can be asked."""

    @document_options(ExecOptions)
    async def exec(self, argv: Sequence[Text], **options: Unpack[ExecOptions]) -> Process:
        """Start a command; its output is read from the process that this returns.

        Use it as `async with await vm.exec(...) as process`, which leaves nothing running. It waits
        only for a command that was abandoned, until that is gone.

        :param argv: its arguments, the first is the name that it sees.
        :raises Busy: another command runs on this machine.
        :raises UsageError: an option that cannot be, an empty command line, a NUL byte, more than
            the protocol carries; or the machine is not running.
        :raises TypeError: there is no such option.
        :raises MachineError: the machine is dead.
        """
        return await self._exec(argv, parse_options(ExecOptions, options, "exec"))

    async def _exec(self, argv: Sequence[Text], options: ParsedOptions) -> Process:
        process = await self._guest().start(argv, options)
        process._keep_alive_with(self)
        return process

    @overload
    async def run(
        self, argv: Sequence[Text], **options: Unpack[UncapturedRunOptions]
    ) -> CompletedProcess[None]: ...
    @overload
    async def run(
        self, argv: Sequence[Text], **options: Unpack[TextRunOptions]
    ) -> CompletedProcess[str]: ...
    @overload
    async def run(
        self, argv: Sequence[Text], **options: Unpack[EncodedRunOptions]
    ) -> CompletedProcess[str]: ...
    @overload
    async def run(
        self, argv: Sequence[Text], **options: Unpack[BytesRunOptions]
    ) -> CompletedProcess[bytes]: ...
    @overload
    async def run(
        self, argv: Sequence[Text], **options: Unpack[RunOptions]
    ) -> CompletedProcess[Any]: ...
    @document_options(RunOptions)
    async def run(
        self, argv: Sequence[Text], **options: Unpack[RunOptions]
    ) -> CompletedProcess[Any]:
        """Run a command to its end and return its status and output.

        :param argv: its arguments, the first is the name that it sees.
        :raises UsageError: as `exec` does, or `input` is given and `stdin` says something else.
        :raises TypeError: there is no such option.
        :raises CalledProcessError: `check` was asked for, and its exit code is not 0.
        :raises UnicodeError: text was asked for, and its output, or `input`, is none.
        :raises OSError: its output cannot be passed on to our own.
        :raises StartError: it could not be started.
        :raises ExecTimeout: it ran past its deadline; the error holds its output.
        :raises OutputLimit: it wrote more than it may; the error holds what came.
        :raises MemoryLimit: it took more memory than it may; the error holds what came.
        :raises Busy: another command runs on this machine.
        :raises MachineError: the machine is dead.
        """
        from microvm.guest.run import run

        return await run(self._guest(), argv, **options)

    async def _run(self, argv: Sequence[Text], options: ParsedOptions) -> CompletedProcess[Any]:
        from microvm.guest.run import run_parsed

        return await run_parsed(self._guest(), argv, options)

    async def ping(self, timeout: Duration = TIMEOUTS.ping) -> None:
        """Ask the guest whether it is alive.

        :param timeout: seconds, or text as `2s`.
        :raises GuestUnresponsive: there was no answer within that time.
        :raises UsageError: the machine is not running.
        :raises MachineError: the machine is dead.
        """
        seconds = parse_duration(timeout)
        await self._guest().ping(seconds)

    async def status(self, timeout: Duration = TIMEOUTS.ping) -> GuestStatus:
        """Return the counters of the guest's daemon.

        :param timeout: seconds, or text as `2s`.
        :raises GuestUnresponsive: there was no answer within that time.
        :raises UsageError: the machine is not running.
        :raises MachineError: the machine is dead.
        """
        from dataclasses import asdict  # its modules would delay the start of QEMU

        from microvm.guest.status import GuestStatus

        counters = await self._guest().status(parse_duration(timeout))
        return GuestStatus(**asdict(counters))

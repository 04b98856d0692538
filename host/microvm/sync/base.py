"""The public class `Machine` for programs without `async`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Self, Unpack, overload

from microvm.guest.process import CompletedProcess
from microvm.guest.status import GuestStatus
from microvm.guest.timeouts import TIMEOUTS
from microvm.machine.snapshot import Snapshot
from microvm.option import document_options
from microvm.options import (
    BytesRunOptions,
    Confinement,
    EncodedRunOptions,
    ExecOptions,
    RunOptions,
    Text,
    TextRunOptions,
    UncapturedRunOptions,
)
from microvm.sync.files import FileMethods
from microvm.sync.process import Process
from microvm.units import Duration, parse_count

if TYPE_CHECKING:
    from microvm.sync.forks import Forks


class Machine(FileMethods):
    """A running machine: a `MicroVM` or an `AttachedVM`; see `microvm.Machine`."""

    def __enter__(self) -> Self:
        raise NotImplementedError

    def __exit__(self, *_: object) -> None:
        raise NotImplementedError

    @property
    def confinement(self) -> Confinement:
        """The value of the option `confinement`: how QEMU is restricted on the host."""
        return self._machine.confinement

    @property
    def pid(self) -> int | None:
        """The process id of QEMU, or None if the machine is not running."""
        return self._machine.pid

    def stop(self) -> None:
        """Stop the machine, also for other processes that use it. Further calls have no effect."""
        raise NotImplementedError

    @document_options(ExecOptions)
    def exec(self, argv: Sequence[Text], **options: Unpack[ExecOptions]) -> Process:
        """Start a command, and return its `Process`; see `microvm.MicroVM.exec`."""
        return Process(self._loop, self._do(self._machine.exec(argv, **options)))

    @overload
    def run(
        self, argv: Sequence[Text], **options: Unpack[UncapturedRunOptions]
    ) -> CompletedProcess[None]: ...
    @overload
    def run(
        self, argv: Sequence[Text], **options: Unpack[TextRunOptions]
    ) -> CompletedProcess[str]: ...
    @overload
    def run(
        self, argv: Sequence[Text], **options: Unpack[EncodedRunOptions]
    ) -> CompletedProcess[str]: ...
    @overload
    def run(
        self, argv: Sequence[Text], **options: Unpack[BytesRunOptions]
    ) -> CompletedProcess[bytes]: ...
    @overload
    def run(self, argv: Sequence[Text], **options: Unpack[RunOptions]) -> CompletedProcess[Any]: ...
    @document_options(RunOptions)
    def run(self, argv: Sequence[Text], **options: Unpack[RunOptions]) -> CompletedProcess[Any]:
        """Run a command until it exits, and return its result; see `microvm.MicroVM.run`."""
        return self._do(self._machine.run(argv, **options))

    def ping(self, timeout: Duration = TIMEOUTS.ping) -> None:
        """Check that the guest answers; see `microvm.MicroVM.ping`."""
        self._do(self._machine.ping(timeout))

    def status(self, timeout: Duration = TIMEOUTS.ping) -> GuestStatus:
        """Return the counters of the guest's daemon; see `microvm.MicroVM.status`."""
        return self._do(self._machine.status(timeout))

    def checkpoint(self, name: str | None = None) -> Snapshot:
        """Save a snapshot of the running machine; see `microvm.MicroVM.checkpoint`."""
        return self._do(self._machine.checkpoint(name))

    def fork(self, count: int = 1) -> Forks:
        """Start machines that continue from the current state; see `microvm.MicroVM.fork`."""
        from microvm.sync.forks import Forks

        count = parse_count(count, least=1)
        with self.checkpoint() as snapshot:
            return Forks.start(snapshot, count, confinement=self._machine.confinement)

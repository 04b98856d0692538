"""The public class `Machine`: what can be done with a machine, whoever started it."""

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
    """See :class:`microvm.Machine`."""

    def __enter__(self) -> Self:
        raise NotImplementedError

    def __exit__(self, *_: object) -> None:
        raise NotImplementedError

    @property
    def pid(self) -> int | None:
        """The process id of QEMU, or None when the machine is not up."""
        return self._machine.pid

    def stop(self) -> None:
        """End the machine, for everybody; idempotent."""
        raise NotImplementedError

    @document_options(ExecOptions)
    def exec(self, argv: Sequence[Text], **options: Unpack[ExecOptions]) -> Process:
        """Start a command; see `microvm.MicroVM.exec`."""
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
        """Run a command to its end; see `microvm.MicroVM.run`."""
        return self._do(self._machine.run(argv, **options))

    def ping(self, timeout: Duration = TIMEOUTS.ping) -> None:
        """Ask the guest whether it is alive; see `microvm.MicroVM.ping`."""
        self._do(self._machine.ping(timeout))

    def status(self, timeout: Duration = TIMEOUTS.ping) -> GuestStatus:
        """Return the counters of the guest's daemon; see `microvm.MicroVM.status`."""
        return self._do(self._machine.status(timeout))

    def checkpoint(self, name: str | None = None) -> Snapshot:
        """Take a snapshot of the machine, which goes on; see `microvm.MicroVM.checkpoint`."""
        return self._do(self._machine.checkpoint(name))

    def fork(self, count: int = 1) -> Forks:
        """Start machines that go on from where this one is; see `microvm.MicroVM.fork`."""
        from microvm.sync.forks import Forks

        count = parse_count(count, least=1)
        with self.checkpoint() as snapshot:
            return Forks.start(snapshot, count, confinement=self._machine.confinement)

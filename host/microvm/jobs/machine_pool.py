"""The class `MachinePool`: a pool that gives each of its machines to one user."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from typing import TYPE_CHECKING, Any, Self, Unpack, overload

from microvm.errors import MicroVMError, NotRun, UsageError
from microvm.jobs.job import CommandLines, Commands, Job, Outcome, carry_out, jobs
from microvm.jobs.lease import Lease, MachineLease
from microvm.jobs.spread import spread
from microvm.jobs.stock import Stock, closed
from microvm.option import complete_options, document_options, read_options
from microvm.options import BytesRunOptions, EncodedRunOptions, RunOptions, TextRunOptions

if TYPE_CHECKING:
    from microvm.machine.base import Machine


class MachinePool:
    """A pool of machines, each of which has one user and is then deleted.

    `Pool` starts the machines in this process; `Pool.attach` uses those of a named pool. A user is
    a block of `machine`, or a command of `map`. Leaving the block stops all machines of this
    object, including those in use.
    """

    def _set_up(
        self,
        size: int,
        factory: Callable[[], Lease],
        notify: Callable[[str], None],
        *,
        spare: int | None = None,
    ) -> None:
        """Set the attributes; see `Stock` for the arguments."""
        if size < 1:
            raise UsageError(f"the size of a pool must be at least 1, not {size}")
        self.size = size
        self._stock = Stock(factory, size, notify, spare=spare)

    async def __aenter__(self) -> Self:
        """Begin to start the pool's machines, and return without waiting until they are ready."""
        self._stock.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stock.close()

    @property
    def ready(self) -> int:
        """The number of started machines that have no user yet."""
        return len(self._stock.ready)

    def _unclosed_warning(self) -> str:
        count = self._stock.count
        return f"a pool was never closed; machines: {count}" if count else ""

    @asynccontextmanager
    async def machine(self) -> AsyncIterator[Machine]:
        """Context manager that gives the caller a new machine, and deletes it after the block.

        Callers get machines in the order of their calls. Leaving the block does not wait until the
        machine has stopped.

        :raises MicroVMError: If no machine could be started; see `MicroVM.start`.
        :raises UsageError: If the pool is closed.
        """
        lease = await self._stock.acquire()
        try:
            if not isinstance(lease, MachineLease):
                raise UsageError("this is a pool of interpreters", hint="call its `interpreter`")
            yield lease.vm
        finally:
            lease.released.set()

    @overload
    def map(
        self, commands: CommandLines, *, ordered: bool = ..., **options: Unpack[TextRunOptions]
    ) -> AsyncGenerator[Outcome[str], None]: ...
    @overload
    def map(
        self, commands: CommandLines, *, ordered: bool = ..., **options: Unpack[EncodedRunOptions]
    ) -> AsyncGenerator[Outcome[str], None]: ...
    @overload
    def map(
        self, commands: CommandLines, *, ordered: bool = ..., **options: Unpack[BytesRunOptions]
    ) -> AsyncGenerator[Outcome[bytes], None]: ...
    @overload
    def map(
        self, commands: Commands, *, ordered: bool = ..., **options: Unpack[RunOptions]
    ) -> AsyncGenerator[Outcome[Any], None]: ...
    @document_options(RunOptions)
    async def map(
        self, commands: Commands, *, ordered: bool = True, **options: Unpack[RunOptions]
    ) -> AsyncGenerator[Outcome[Any], None]:
        """Run each command in a machine of its own, and yield its outcome.

        If a command fails, its outcome contains the error. No command runs twice. This method
        takes commands from `commands` only until `size` commands have an outcome that the caller
        has not received yet. If `commands` raises an exception, it is raised after all earlier
        outcomes.

        If no machine can be started, running commands finish. All other commands, including those
        that `commands` has not yielded yet, get the error `NotRun`.

        :param commands: Lists of arguments, or jobs. A normal iterable is read in the event loop,
            so it must not block.
        :param ordered: True to yield outcomes in the order of the commands, False to yield them as
            commands finish.
        :param options: Options of all commands. Set `max_output` to limit the memory for the
            output.
        :raises UsageError: If the pool is closed, an option is invalid, or a command is not a list.
        :raises TypeError: If an option does not exist.
        """
        checked = read_options(RunOptions, options, "map")
        async with aclosing(self._map(commands, checked, ordered=ordered)) as outcomes:
            async for outcome in outcomes:
                yield outcome

    async def _map(
        self, commands: Commands, options: Mapping[str, Any], *, ordered: bool
    ) -> AsyncGenerator[Outcome[Any], None]:
        """Run each command as `map` does, with options that `read_options` has returned."""
        # check the common options here, so that an error is raised once and not for each job
        complete_options(RunOptions, options)
        outcomes = spread(
            jobs(commands),
            lambda job: self._outcome(job, options),
            room=lambda: self.size,
            ordered=ordered,
            spawn=self._stock.spawn,
        )
        try:
            async with aclosing(outcomes):
                async for outcome in outcomes:
                    yield outcome
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if self._stock.is_open or (task and task.cancelling()):
                raise
            raise closed() from None

    async def _outcome(self, job: Job, options: Mapping[str, Any]) -> Outcome[Any]:
        async with AsyncExitStack() as leased:
            try:
                vm = await leased.enter_async_context(MachinePool.machine(self))
            except UsageError:
                raise
            except MicroVMError as error:
                raise NotRun(error) from error
            return await carry_out(vm, job, options)

"""The public class `Pool`: machines that are started before they are needed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, Unpack, overload

from microvm.errors import MicroVMError, NotRun, UsageError
from microvm.jobs.job import CommandLines, Commands, Job, Outcome, carry_out, jobs
from microvm.jobs.lease import InterpreterLease, Lease, MachineLease
from microvm.jobs.spread import spread
from microvm.jobs.stock import Stock, closed
from microvm.machine.machine import MicroVM
from microvm.option import (
    ParsedOptions,
    complete_options,
    document_options,
    parse_options,
    read_options,
)
from microvm.options import (
    BytesRunOptions,
    EncodedRunOptions,
    PoolOptions,
    RunOptions,
    TextRunOptions,
)
from microvm.system.capacity import usable_cpus

if TYPE_CHECKING:
    from microvm.images import Image
    from microvm.interpreter.interpreter import Interpreter
    from microvm.machine.snapshot import Snapshot


class Pool:
    """A pool of machines that are started before they are needed.

    ::

        async with Pool(8) as pool:
            async with pool.machine() as vm:
                await vm.run(["echo", "hello"])
            async for outcome in pool.map([["echo", str(n)] for n in range(100)]):
                print(outcome.result().stdout)

    A user is a block of `machine`, or a command of `map`. Each machine has one user. It is then
    deleted, and another machine is started. A new machine runs a few commands before it gets a
    user, so that the user's first command is faster. If a machine without a user fails, it is
    replaced.

    If a machine fails while it starts, the start is repeated after a pause, which grows with each
    failure. After 12 failures in a row, after a minute, or if another attempt would be useless, all
    waiting users get the error. From then on, until a start succeeds, machines are started only for
    waiting users.

    Leaving the block stops all machines, including those in use.
    """

    @document_options(PoolOptions)
    def __init__(
        self,
        size: int | None = None,
        image: Image | Snapshot | str | Path | None = None,
        *,
        interpreter: Interpreter | None = None,
        **options: Unpack[PoolOptions],
    ) -> None:
        """Check the options. Entering the `async with` block starts the machines.

        :param size: Maximum number of machines that exist at the same time. The default is the
            number of CPUs. At most one machine for each CPU starts at the same time.
        :param image: See `MicroVM`.
        :param interpreter: Interpreter that has not been started. The pool then starts interpreters
            like this one, and `interpreter` gives them to users. `image` and the other options,
            except `notify`, are those of the interpreter.
        :raises UsageError: If an option is invalid.
        :raises TypeError: If an option does not exist.
        """
        checked = parse_options(PoolOptions, options, "Pool", "size", "image", "interpreter")
        if interpreter is None:
            self._configure(size, image, checked)
            return
        if image is not None or checked.given - {"notify"}:
            raise UsageError("interpreter: it determines the image and the options of the pool")
        interpreter._another()  # it is never started: this checks that the interpreter has copies
        self._set_up(size, checked, lambda: InterpreterLease(interpreter._another()))

    @classmethod
    def _from_options(
        cls, size: int | None, image: Image | Snapshot | str | Path | None, options: ParsedOptions
    ) -> Self:
        """Create a pool with options that are already checked."""
        pool = cls.__new__(cls)
        pool._configure(size, image, options)
        return pool

    def _configure(
        self, size: int | None, image: Image | Snapshot | str | Path | None, options: ParsedOptions
    ) -> None:
        MicroVM._from_options(image, options)  # it is never started: this checks the options
        self._set_up(size, options, lambda: MachineLease(MicroVM._from_options(image, options)))

    def _set_up(
        self, size: int | None, options: ParsedOptions, factory: Callable[[], Lease]
    ) -> None:
        if size is None:
            size = usable_cpus()
        if size < 1:
            raise UsageError(f"the size of a pool must be at least 1, not {size}")
        self.size = size
        self._stock = Stock(factory, size, options["notify"])

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
    async def machine(self) -> AsyncIterator[MicroVM]:
        """Context manager that gives the caller a new machine, and stops it after the block.

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

    @asynccontextmanager
    async def interpreter(self) -> AsyncIterator[Interpreter]:
        """Context manager that gives the caller a new interpreter, and closes it after the block.

        It is like `machine`, for a pool that was created with `interpreter`.

        :raises MicroVMError: If no interpreter could be started; see `Interpreter.start`.
        :raises UsageError: If the pool is closed, or has no interpreters.
        """
        lease = await self._stock.acquire()
        try:
            if not isinstance(lease, InterpreterLease):
                raise UsageError("this is a pool of machines", hint="call its method `machine`")
            yield lease.python
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
                vm = await leased.enter_async_context(self.machine())
            except UsageError:
                raise
            except MicroVMError as error:
                raise NotRun(error) from error
            return await carry_out(vm, job, options)

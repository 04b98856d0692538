"""The public class `Pool`: machines that are started before they are needed."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Mapping
from contextlib import AsyncExitStack, aclosing, asynccontextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar, Unpack, overload

from microvm.concurrency.tasks import cancel, check_loop, running_loop
from microvm.errors import MachineError, MicroVMError, NotRun, UsageError
from microvm.jobs.job import CommandLines, Commands, Job, Outcome, carry_out, jobs
from microvm.jobs.lease import InterpreterLease, Lease, MachineLease
from microvm.jobs.spread import spread
from microvm.log import Area
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
from microvm.start.retry import Attempt, Retries
from microvm.system.capacity import usable_cpus

if TYPE_CHECKING:
    from microvm.images import Image
    from microvm.interpreter.interpreter import Interpreter
    from microvm.machine.snapshot import Snapshot

T = TypeVar("T")

_logger = Area("start")


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
        self._cpus = usable_cpus()
        self.size = self._cpus if size is None else size
        if self.size < 1:
            raise UsageError(f"the size of a pool must be at least 1, not {size}")
        self._factory = factory
        self._open = False
        self._loop: asyncio.AbstractEventLoop
        self._notify = options["notify"]
        self._retries = Retries()
        # timer that ends the pause after a failed start; None if there is no pause
        self._pause: asyncio.TimerHandle | None = None
        # True after repeated failures: machines are then started only for users that wait for one
        self._given_up = False
        self._tasks: set[asyncio.Task[Any]] = set()
        self._slots: set[asyncio.Task[None]] = set()
        self._starting: set[asyncio.Task[None]] = set()
        self._ready: deque[Lease] = deque()
        self._waiters: deque[asyncio.Future[Lease]] = deque()

    async def __aenter__(self) -> Self:
        """Begin to start the pool's machines, and return without waiting until they are ready."""
        self._loop = running_loop("pool")
        self._open = True
        self._fill()
        return self

    async def __aexit__(self, *_: object) -> None:
        if not self._open:
            return
        self._check_open()
        self._open = False
        self._end_pause()
        self._fail_waiters(_closed())
        try:
            await cancel(self._tasks)
        finally:
            self._ready.clear()

    @property
    def ready(self) -> int:
        """The number of started machines that have no user yet."""
        return len(self._ready)

    def _unclosed_warning(self) -> str:
        return f"a pool was never closed; machines: {len(self._slots)}" if self._slots else ""

    @asynccontextmanager
    async def machine(self) -> AsyncIterator[MicroVM]:
        """Context manager that gives the caller a new machine, and stops it after the block.

        Callers get machines in the order of their calls. Leaving the block does not wait until the
        machine has stopped.

        :raises MicroVMError: If no machine could be started; see `MicroVM.start`.
        :raises UsageError: If the pool is closed.
        """
        lease = await self._acquire()
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
        lease = await self._acquire()
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
            spawn=self._spawn,
        )
        try:
            async with aclosing(outcomes):
                async for outcome in outcomes:
                    yield outcome
        except asyncio.CancelledError:
            if self._open or _this_task().cancelling():
                raise
            raise _closed() from None

    async def _outcome(self, job: Job, options: Mapping[str, Any]) -> Outcome[Any]:
        async with AsyncExitStack() as leased:
            try:
                vm = await leased.enter_async_context(self.machine())
            except UsageError:
                raise
            except MicroVMError as error:
                raise NotRun(error) from error
            return await carry_out(vm, job, options)

    async def _acquire(self) -> Lease:
        while True:
            lease = await self._get_lease()
            try:
                await lease.ping()
                return lease
            except BaseException as error:
                lease.released.set()
                if not isinstance(error, MachineError):  # the machine failed before it got a user
                    raise

    async def _get_lease(self) -> Lease:
        self._check_open()
        if self._ready:
            lease = self._ready.popleft()
            lease.taken.set()
            return lease
        waiter: asyncio.Future[Lease] = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        self._fill()
        try:
            return await waiter
        except asyncio.CancelledError:
            if not waiter.cancelled() and waiter.exception() is None:
                # the caller was cancelled just when it got a machine, so release that machine
                waiter.result().released.set()
            raise
        finally:
            with suppress(ValueError):
                self._waiters.remove(waiter)

    def _hand_over(self, lease: Lease) -> None:
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                lease.taken.set()
                waiter.set_result(lease)
                return
        self._ready.append(lease)

    def _fail_waiters(self, error: Exception) -> None:
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_exception(error)

    def _fill(self) -> None:
        """Start missing machines of the pool, at most as many at the same time as there are CPUs.

        This method is called whenever another machine may be started.
        """
        while (
            self._open
            and self._pause is None
            and len(self._slots) < self.size
            and len(self._starting) < self._cpus
            and (not self._given_up or len(self._starting) < len(self._waiters))
        ):
            slot = self._spawn(self._own_machine())
            self._slots.add(slot)
            self._starting.add(slot)
            slot.add_done_callback(self._slot_done)

    def _slot_done(self, slot: asyncio.Task[None]) -> None:
        self._slots.discard(slot)
        self._starting.discard(slot)
        self._fill()

    async def _own_machine(self) -> None:
        """Start a machine, wait until its user has released it, and stop it.

        One task for each machine of the pool runs this coroutine.
        """
        lease: Lease | None = None
        attempt = self._retries.begin()
        try:
            try:
                lease = self._factory()
                await lease.start()
            except Exception as error:
                self._fail(attempt, error)
                return
            self._retries.succeed()
            self._given_up = False
            self._end_pause()
            self._starting.remove(_this_task())
            self._hand_over(lease)
            self._fill()
            if await lease.wait_until_taken():
                await lease.released.wait()
            else:
                self._ready.remove(lease)
        finally:
            if lease is not None:
                await lease.stop()

    def _fail(self, attempt: Attempt, error: Exception) -> None:
        """Handle `error`, which ended an attempt to start a machine: try again after a pause.

        If another attempt would be useless, pass the error to all waiting users instead.
        """
        try:
            pause = self._retries.fail(attempt, error)
        except Exception as final:
            self._given_up = True
            self._fail_waiters(final)
            return
        if pause:
            why = error.message if isinstance(error, MicroVMError) else error
            text = f"a machine was lost while it started: {why}; starting another"
            _logger.warning("%s", text)
            self._notify(text)
            self._end_pause()
            self._pause = self._loop.call_later(pause, self._resume)

    def _resume(self) -> None:
        self._pause = None
        self._fill()

    def _end_pause(self) -> None:
        pause, self._pause = self._pause, None
        if pause is not None:
            pause.cancel()

    def _spawn(self, coroutine: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        try:
            self._check_open()
        except UsageError:
            coroutine.close()
            raise
        task = asyncio.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _check_open(self) -> None:
        if not self._open:
            raise _closed()
        check_loop("pool", self._loop)


def _closed() -> UsageError:
    return UsageError("the pool is closed", hint="use it inside of its `with` block")


def _this_task() -> asyncio.Task[Any]:
    task = asyncio.current_task()
    assert task is not None  # noqa: S101 - only tasks call this function
    return task

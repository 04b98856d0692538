"""The pool: machines that are kept ready, each for one user, and commands spread over them."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine, Mapping
from contextlib import AsyncExitStack, aclosing, asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar, Unpack, overload

from microvm.concurrency.tasks import cancel, check_loop, running_loop
from microvm.errors import MachineError, MicroVMError, NotRun, UsageError
from microvm.guest.timeouts import TIMEOUTS
from microvm.jobs.job import CommandLines, Commands, Job, Outcome, carry_out, jobs
from microvm.jobs.spread import spread
from microvm.log import Area
from microvm.machine.machine import MicroVM
from microvm.option import complete_options, document_options, parse_options, read_options
from microvm.options import (
    BytesRunOptions,
    EncodedRunOptions,
    PoolOptions,
    RunOptions,
    TextRunOptions,
)
from microvm.start.retry import Attempt, Retries
from microvm.start.warmup import warm_up
from microvm.system.capacity import usable_cpus

if TYPE_CHECKING:
    from microvm.images import Image
    from microvm.machine.snapshot import Snapshot

T = TypeVar("T")

_logger = Area("start")


class Pool:
    """A pool of machines, which are started ahead of those who need them.

    ::

        async with Pool(8) as pool:
            async with pool.machine() as vm:
                await vm.run(["echo", "hello"])
            async for outcome in pool.map([["echo", str(n)] for n in range(100)]):
                print(outcome.result().stdout)

    A machine has one user and is thrown away afterwards, and the next one is started in its place.
    It has run a command before it is handed out, which makes the user's first one faster. One that
    dies while nobody uses it is replaced.

    A machine that dies while it starts or warms up is started again, after a pause that grows with
    each failure in a row. After 12 failures in a row or a minute of them, or at once where another
    start would fail in the same way, all users that wait get the error. From then on machines are
    started only for users that wait, until one starts.

    When the block is left, however that happens, all machines end, whoever uses them.
    """

    @document_options(PoolOptions)
    def __init__(
        self,
        size: int | None = None,
        image: Image | Snapshot | str | Path | None = None,
        **options: Unpack[PoolOptions],
    ) -> None:
        """Check what they are to be; nothing is started.

        :param size: how many machines there are at most, whether they start, wait, are in use or
            end; by default as many as there are CPUs. No more start at a time than there are CPUs.
        :param image: see `MicroVM`.
        :raises UsageError: for a value that cannot be.
        """
        self._cpus = usable_cpus()
        self.size = self._cpus if size is None else size
        if self.size < 1:
            raise UsageError(f"a pool needs room for at least one machine, not {size}")
        parsed = parse_options(PoolOptions, options, "Pool")
        self._factory = partial(MicroVM._from_options, image, parsed)
        self._factory()  # checks the image and the options without starting anything
        self._open = False
        self._loop: asyncio.AbstractEventLoop
        self._notify = parsed["notify"]
        self._retries = Retries()
        # the timer of the next start after a failure
        self._pause: asyncio.TimerHandle | None = None
        self._given_up = False  # True if machines are started only for users that wait
        self._tasks: set[asyncio.Task[Any]] = set()
        self._slots: set[asyncio.Task[None]] = set()
        self._starting: set[asyncio.Task[None]] = set()
        self._ready: deque[_Lease] = deque()
        self._waiters: deque[asyncio.Future[_Lease]] = deque()

    async def __aenter__(self) -> Self:
        """Begin to start machines, without waiting for them."""
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
        """The number of machines that wait for a user."""
        return len(self._ready)

    def _unclosed_warning(self) -> str:
        """Return the warning for a pool that nobody has closed; empty if that does no harm."""
        return f"a pool was never closed; machines: {len(self._slots)}" if self._slots else ""

    @asynccontextmanager
    async def machine(self) -> AsyncIterator[MicroVM]:
        """Lease a machine that nobody has used, for as long as the block lasts.

        Leases are given in the order of the calls. The block does not wait until its machine has
        ended.

        :raises MicroVMError: no machine could be started, even after repeated attempts; see
            `MicroVM.start`.
        :raises UsageError: the pool is closed.
        """
        lease = await self._acquire()
        try:
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

        A command that fails is an outcome like any other, as is a machine that dies under its
        command: nothing is run a second time. There are never more than `size` commands that have
        been taken from `commands` and whose outcome has not been asked for. What `commands` raises
        comes through when everything before it has been given.

        When no machine can be started, the commands that run get their outcomes. Every other one,
        also those that `commands` still yields, gets an outcome with the error `NotRun`; no machine
        is started for it.

        :param commands: lists of arguments, or jobs; an iterable of any length, which is asked in
            the event loop and must not block it, or an asynchronous one.
        :param ordered: give outcomes in the order of the commands, so that a slow one holds up
            others; else as they come.
        :param options: of each command that does not say otherwise; without `max_output` there is
            no bound on what one outcome holds.
        :raises UsageError: the pool is closed, or a command is no list of arguments.
        """
        checked = read_options(RunOptions, options, "map")
        complete_options(RunOptions, checked)  # raises an error now and not once for each job
        outcomes = spread(
            jobs(commands),
            lambda job: self._outcome(job, checked),
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

    async def _acquire(self) -> _Lease:
        while True:
            lease = await self._get_lease()
            try:
                await lease.vm.ping()
            except MachineError:
                lease.released.set()  # it died while it waited
            except BaseException:
                lease.released.set()
                raise
            else:
                return lease

    async def _get_lease(self) -> _Lease:
        self._check_open()
        if self._ready:
            lease = self._ready.popleft()
            lease.taken.set()
            return lease
        waiter: asyncio.Future[_Lease] = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        self._fill()
        try:
            return await waiter
        except asyncio.CancelledError:
            if not waiter.cancelled() and waiter.exception() is None:
                waiter.result().released.set()  # it came in the same moment
            raise
        finally:
            with suppress(ValueError):
                self._waiters.remove(waiter)

    def _hand_over(self, lease: _Lease) -> None:
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
        """Start machines for the free slots; called whenever there may be more of these."""
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
        """Own one machine, from before its start until it is gone: the task of a slot."""
        lease, attempt = _Lease(self._factory()), self._retries.begin()
        try:
            try:
                await lease.vm.start()
                await warm_up(lease.vm.run)
            except Exception as error:
                self._fail(attempt, error)
                return
            self._retries.succeed()
            self._given_up = False
            self._end_pause()
            self._starting.remove(_this_task())
            self._hand_over(lease)
            self._fill()
            if await self._wait_until_taken(lease):
                await lease.released.wait()
        finally:
            await lease.vm.stop()

    def _fail(self, attempt: Attempt, error: Exception) -> None:
        """Wait after a failed start of a machine, or give up starting machines ahead."""
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
        if self._pause is not None:
            self._pause.cancel()
            self._pause = None

    async def _wait_until_taken(self, lease: _Lease) -> bool:
        """Wait until the machine is taken; return False if it died before."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(TIMEOUTS.ping_interval):
                    await lease.taken.wait()
                    return True
            try:
                await lease.vm.ping()
            except MachineError:
                if not lease.taken.is_set():
                    self._ready.remove(lease)
                    return False

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
    return UsageError("the pool is closed", hint="use it within its block")


class _Lease:
    """A machine for one user, and whether it is taken and released."""

    def __init__(self, vm: MicroVM) -> None:
        self.vm = vm
        self.taken = asyncio.Event()
        self.released = asyncio.Event()


def _this_task() -> asyncio.Task[Any]:
    task = asyncio.current_task()
    assert task is not None  # noqa: S101 - coroutines run in tasks here
    return task

"""The stock of a pool: machines that are started before a user needs them, and are replaced."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, TypeVar

from microvm.concurrency.tasks import cancel, check_loop, running_loop
from microvm.errors import MachineError, MicroVMError, UsageError
from microvm.jobs.lease import Lease
from microvm.log import Area
from microvm.start.retry import Attempt, Retries
from microvm.system.capacity import usable_cpus

T = TypeVar("T")

_logger = Area("start")


class Stock:
    """The machines of a pool. Each has one user, is then deleted, and another one is started.

    If a machine without a user fails, it is replaced. If a machine fails while it starts, the start
    is repeated after a pause; see `microvm.start.retry` for the pauses and their end.

    :ivar size: Maximum number of machines that exist at the same time, including those in use.
    :ivar spare: Number of machines without a user that are kept ready, if `size` and `busy` permit
        it. None for as many as `size` permits, whatever `busy` is.
    :ivar busy: Number of CPUs on which no spare machine may start, because machines in use compute
        on them.
    :ivar used: Number of machines that have a user.
    :ivar error: The error of the last start if it failed, else None.
    :ivar is_open: True between `open` and `close`.
    """

    def __init__(
        self,
        factory: Callable[[], Lease],
        size: int,
        notify: Callable[[str], None],
        *,
        spare: int | None = None,
    ) -> None:
        """Create an empty stock.

        :param factory: Function that returns a new machine, which has not been started.
        :param notify: Function that is called with a notice for each machine that failed to start.
        """
        self.size = size
        self.spare = spare
        self.busy = 0
        self.error: Exception | None = None
        self.used = 0
        self.is_open = False
        self._factory = factory
        self._notify = notify
        self._cpus = usable_cpus()
        self._loop: asyncio.AbstractEventLoop
        self._retries = Retries()
        # timer that ends the pause after a failed start; None if there is no pause
        self._pause: asyncio.TimerHandle | None = None
        # True after repeated failures: machines are then started only for users that wait for one
        self._given_up = False
        self._start_seconds = 0.0  # duration of the last start that has succeeded
        self._tasks: set[asyncio.Task[Any]] = set()
        self._slots: set[asyncio.Task[None]] = set()
        self._starting: set[asyncio.Task[None]] = set()
        self._ready: deque[Lease] = deque()
        self._waiters: deque[asyncio.Future[Lease]] = deque()
        # futures of the users in `take_starting`, who wait for a machine that is starting anyway
        self._claims: deque[asyncio.Future[Lease]] = deque()
        self._watcher: asyncio.Future[Lease] | None = None

    def open(self) -> None:
        """Begin to start machines, in the event loop that runs now."""
        self._loop = running_loop("pool")
        self.is_open = True
        self.fill()

    async def close(self) -> None:
        """Stop all machines, including those in use; idempotent."""
        if not self.is_open:
            return
        self._check_open()
        self.is_open = False
        self._end_pause()
        _fail(self._claims, closed())
        self._fail_waiters(closed())
        try:
            await cancel(self._tasks)
        finally:
            self._ready.clear()

    @property
    def ready(self) -> tuple[Lease, ...]:
        """The started machines that have no user yet."""
        return tuple(self._ready)

    @property
    def count(self) -> int:
        """The number of machines that exist: ready, in use, starting or stopping."""
        return len(self._slots)

    async def acquire(self) -> Lease:
        """Return a machine that answers, and that nobody else uses; wait until there is one.

        The user must set the event `released` of the machine.

        :raises MicroVMError: If no machine could be started; see `MicroVM.start`.
        :raises UsageError: If the stock is closed.
        """
        while True:
            self._check_open()
            lease = self._pop() if self._ready else await self._wait(self._waiters)
            with suppress(MachineError):  # the machine failed before it got a user
                return await _answering(lease)

    async def wait_ready(self) -> Lease:
        """Wait until a machine is ready, and return it without using it.

        :raises MicroVMError: If no machine could be started.
        """
        self._check_open()
        if self._ready:
            return self._ready[0]
        self._watcher = asyncio.get_running_loop().create_future()
        return await self._watcher

    async def take(self) -> Lease | None:
        """Return a ready machine as `acquire` does, or None if there is none.

        Call `fill` afterwards, when `busy` includes the CPU of the machine's user.
        """
        self._check_open()
        while self._ready:
            with suppress(MachineError):
                return await _answering(self._pop())
        return None

    async def take_starting(self, longest: float) -> Lease | None:
        """Wait for a machine that is starting, and return it. No machine is started for this user.

        Return None at once if other users wait for all starting machines, or if the last start has
        failed or has taken more than `longest` seconds. Call `fill` afterwards, as after `take`.

        :raises Exception: If any start fails meanwhile, even that of another machine, or if the
            machine fails.
        """
        self._check_open()
        if self.error is not None or self._start_seconds > longest:
            return None
        if len(self._starting) <= self._waiting:
            return None
        return await _answering(await self._wait(self._claims))

    def keep(self, spare: int) -> None:
        """Set the number of machines that are kept ready. Stop surplus ones, or start missing ones.

        After repeated failures, this begins to start machines again.
        """
        self.spare = spare
        self._given_up = False
        while len(self._ready) > spare:
            self._pop().released.set()
        self.fill()

    def _pop(self) -> Lease:
        lease = self._ready.popleft()
        lease.taken.set()
        return lease

    @property
    def _waiting(self) -> int:
        """The number of users that wait for a machine."""
        return len(self._waiters) + len(self._claims)

    async def _wait(self, queue: deque[asyncio.Future[Lease]]) -> Lease:
        """Wait in a queue of users until a machine has been started for this one."""
        waiter: asyncio.Future[Lease] = asyncio.get_running_loop().create_future()
        queue.append(waiter)
        self.fill()
        try:
            return await waiter
        except asyncio.CancelledError:
            if not waiter.cancelled() and waiter.exception() is None:
                # the caller was cancelled just when it got a machine, so release that machine
                waiter.result().released.set()
            raise
        finally:
            with suppress(ValueError):
                queue.remove(waiter)

    def _hand_over(self, lease: Lease) -> None:
        """Give a machine to a user that waits, or keep it ready. Then start missing machines.

        A user of `take_starting` calls `fill` itself, when `busy` includes the CPU of this user.
        """
        for queue in (self._waiters, self._claims):
            while queue:
                waiter = queue.popleft()
                if not waiter.done():
                    lease.taken.set()
                    waiter.set_result(lease)
                    if queue is self._waiters:
                        self.fill()
                    return
        if self.spare is not None and len(self._ready) >= self.spare:
            lease.taken.set()
            lease.released.set()  # `keep` has reduced their number meanwhile, so stop this machine
            return
        self._ready.append(lease)
        if self._watcher and not self._watcher.done():
            self._watcher.set_result(lease)
        self.fill()

    def _fail_waiters(self, error: Exception) -> None:
        _fail(self._waiters, error)
        if self._watcher and not self._watcher.done():
            self._watcher.set_exception(error)

    def fill(self) -> None:
        """Start missing machines, at most as many at the same time as there are CPUs.

        Call this method whenever another machine may be started, such as after a change of `size`.
        """
        while (
            self.is_open
            and self._pause is None
            and len(self._slots) < self.size
            and len(self._starting) < self._cpus
            and len(self._starting) < self._wanted
        ):
            slot = self.spawn(self._own_machine())
            self._slots.add(slot)
            self._starting.add(slot)
            slot.add_done_callback(self._slot_done)

    @property
    def _wanted(self) -> int:
        """The number of machines that should be starting now, as far as the limits permit it."""
        waiting = len(self._waiters)
        if self._given_up:
            return waiting
        if self.spare is None:
            return self.size
        spare = min(self.spare - len(self._ready), self._cpus - self.busy)
        return max(waiting, spare)

    def _slot_done(self, slot: asyncio.Task[None]) -> None:
        self._slots.discard(slot)
        self._starting.discard(slot)
        self.fill()

    async def _own_machine(self) -> None:
        """Start a machine, wait until its user has released it, and stop it.

        One task for each machine of the pool runs this coroutine.
        """
        lease: Lease | None = None
        attempt = self._retries.begin()
        try:
            try:
                lease = self._factory()
                await lease.start(lambda: self._waiting > 0)
            except Exception as error:
                self._handle_failure(attempt, error)
                return
            self._retries.succeed()
            self._given_up = False
            self.error = None
            self._start_seconds = time.monotonic() - attempt.began
            self._end_pause()
            self._starting.remove(_this_task())
            self._hand_over(lease)
            if await lease.wait_until_taken():
                await self._lend(lease)
            else:
                self._ready.remove(lease)
        finally:
            if lease is not None:
                await lease.stop()

    async def _lend(self, lease: Lease) -> None:
        """Wait until the user of a machine has released it."""
        self.used += 1
        try:
            await lease.released.wait()
        finally:
            self.used -= 1

    def _handle_failure(self, attempt: Attempt, error: Exception) -> None:
        """Handle `error`, which ended an attempt to start a machine: try again after a pause.

        If another attempt would be useless, pass the error to all waiting users instead.
        """
        self.error = error
        _fail(self._claims, error)
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
        self.fill()

    def _end_pause(self) -> None:
        pause, self._pause = self._pause, None
        if pause is not None:
            pause.cancel()

    def spawn(self, coroutine: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Run a coroutine until it returns, or until the stock is closed."""
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
        if not self.is_open:
            raise closed()
        check_loop("pool", self._loop)


def closed() -> UsageError:
    """Return the error for the use of a closed pool."""
    return UsageError("the pool is closed", hint="use it inside of its `with` block")


async def _answering(lease: Lease) -> Lease:
    """Return a machine after it has answered a ping. If it does not answer, release it."""
    try:
        await lease.ping()
    except BaseException:
        lease.released.set()
        raise
    return lease


def _fail(queue: deque[asyncio.Future[Lease]], error: Exception) -> None:
    """Raise an error in all users of a queue."""
    while queue:
        waiter = queue.popleft()
        if not waiter.done():
            waiter.set_exception(error)


def _this_task() -> asyncio.Task[Any]:
    task = asyncio.current_task()
    assert task is not None  # noqa: S101 - only tasks call this function
    return task

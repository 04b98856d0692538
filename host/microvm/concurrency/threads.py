"""Starts threads, also from coroutines, and reports if this host allows no more threads."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from contextvars import ContextVar
from typing import Any, ParamSpec, TypeVar

from microvm.errors import MicroVMError

MORE_PROCESSES = "raise the limit on processes: `ulimit -u`, or pids.max of the cgroup"
"""The hint for users if no more threads or child processes can be started."""

_STOP_TIMEOUT = 10.0  # maximum number of seconds to wait for a thread that was told to stop
_stopped: ContextVar[threading.Event | None] = ContextVar("stopped", default=None)

P = ParamSpec("P")
T = TypeVar("T")


def start_thread(
    target: Callable[P, object], *args: P.args, **kwargs: P.kwargs
) -> threading.Thread:
    """Run a function in a new daemon thread, for which the exit of the process does not wait."""
    thread = threading.Thread(target=target, args=args, kwargs=kwargs, daemon=True)
    try:
        thread.start()
    except RuntimeError as error:
        raise thread_error() from error
    return thread


async def in_thread(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run a function in a new thread and return its result. Cancelling does not stop the thread.

    `asyncio.to_thread` is not used, because its threads are awaited at the end of the loop, which
    may require a new thread while the interpreter exits.
    """
    import asyncio  # imported here, because QEMU is launched before `asyncio` is imported

    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def settle(settle: Callable[[Any], None], outcome: object) -> None:
        if not done.done():
            settle(outcome)

    def call() -> None:
        try:
            outcome: tuple[Callable[[Any], None], object] = (
                done.set_result,
                function(*args, **kwargs),
            )
        except BaseException as error:  # noqa: BLE001, RUF100 - raised in the waiting task
            outcome = done.set_exception, error
        with suppress(RuntimeError):  # ignore the error if the event loop was closed meanwhile
            loop.call_soon_threadsafe(settle, *outcome)

    start_thread(call)
    return await done


async def in_stoppable_thread(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run a function in a new thread, return its result, and stop it if the task is cancelled.

    The function calls `check_stopped` repeatedly. After the cancellation, the next call raises an
    error, which stops the function. The task waits at most 10 s for that.
    """
    import asyncio

    stop = threading.Event()

    def call() -> T:
        _stopped.set(stop)
        return function(*args, **kwargs)

    thread = asyncio.ensure_future(in_thread(call))
    try:
        return await asyncio.shield(thread)
    except asyncio.CancelledError:
        stop.set()
        await asyncio.wait([thread], timeout=_STOP_TIMEOUT)
        if not thread.cancel() and not thread.cancelled():
            thread.exception()  # retrieve the error, because asyncio would otherwise log it
        raise


def check_stopped() -> None:
    """Raise CancelledError if the function in this thread must stop; see `in_stoppable_thread`."""
    stop = _stopped.get()
    if stop is not None and stop.is_set():
        from asyncio import CancelledError

        raise CancelledError


def is_out_of_threads(error: BaseException) -> bool:
    """Tell whether the error is the one that Python raises if it cannot start a thread."""
    return isinstance(error, RuntimeError) and "can't start new thread" in str(error)


def thread_error() -> MicroVMError:
    """Return the error to raise if no thread can be started."""
    return MicroVMError("this host does not allow more threads", hint=MORE_PROCESSES)

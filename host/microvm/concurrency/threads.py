"""Threads on a host that may have no more of them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from contextvars import ContextVar
from typing import Any, ParamSpec, TypeVar

from microvm.errors import MicroVMError

MORE_PROCESSES = "raise the limit on processes: `ulimit -u`, or pids.max of a cgroup around us"
"""The hint for users where there are no more threads or children."""

_STOP_TIMEOUT = 10.0  # of a thread, in seconds
_stopped: ContextVar[threading.Event | None] = ContextVar("stopped", default=None)

P = ParamSpec("P")
T = TypeVar("T")


def start_thread(
    target: Callable[P, object], *args: P.args, **kwargs: P.kwargs
) -> threading.Thread:
    """Start a function in a thread of its own, which the end of this process does not wait for.

    :raises MicroVMError: no thread can be had.
    """
    thread = threading.Thread(target=target, args=args, kwargs=kwargs, daemon=True)
    try:
        thread.start()
    except RuntimeError as error:
        raise thread_error() from error
    return thread


async def in_thread(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run a function in a thread, and return its result; cancelling leaves the thread behind.

    It is not one of those that `asyncio.to_thread` keeps: a loop that ends with its interpreter
    could start no thread to wait for them.

    :raises MicroVMError: no thread can be had.
    """
    import asyncio  # of those who call this, not of those who start threads

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
        except BaseException as error:  # noqa: BLE001, RUF100 - who waits gets it
            outcome = done.set_exception, error
        with suppress(RuntimeError):  # the loop has ended meanwhile
            loop.call_soon_threadsafe(settle, *outcome)

    start_thread(call)
    return await done


async def in_stoppable_thread(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run a function in a thread, and return its result; cancelling has the function stop.

    It does so where it calls `check_stopped`, and is waited for while it clears up, but not for
    ever.

    :raises MicroVMError: no thread can be had.
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
            thread.exception()  # which nobody waits for
        raise


def check_stopped() -> None:
    """Raise the error that ends the work of a thread for which nobody waits any more.

    :raises asyncio.CancelledError: this is one, of `in_stoppable_thread`.
    """
    stop = _stopped.get()
    if stop is not None and stop.is_set():
        from asyncio import CancelledError

        raise CancelledError


def is_out_of_threads(error: BaseException) -> bool:
    """Tell whether the error is the one that Python raises when it gets no thread."""
    return isinstance(error, RuntimeError) and "can't start new thread" in str(error)


def thread_error() -> MicroVMError:
    """Return the error to raise where the host gives us no thread."""
    return MicroVMError(
        "this host gives us no more threads",
        hint=MORE_PROCESSES,
    )

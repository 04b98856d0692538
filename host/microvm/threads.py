"""Threads, of which a host may have no more to give."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from .errors import MicroVMError

P = ParamSpec("P")
T = TypeVar("T")


def start_thread(target: Callable[P, object], *args: P.args, **kwargs: P.kwargs) -> None:
    """Call a function in a thread of its own, which nobody waits for.

    :raise MicroVMError: no thread can be had.
    """
    thread = threading.Thread(target=target, args=args, kwargs=kwargs, daemon=True)
    try:
        thread.start()
    except RuntimeError as error:
        raise no_thread() from error


async def in_thread(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call a function in a thread, and wait for what it returns, as `asyncio.to_thread` does.

    :raise MicroVMError: no thread can be had.
    """
    import asyncio  # of those who call this, not of those who start threads

    try:
        return await asyncio.to_thread(function, *args, **kwargs)
    except RuntimeError as error:
        if is_want_of_threads(error):
            raise no_thread() from error
        raise


def is_want_of_threads(error: BaseException) -> bool:
    """Whether it is what Python raises when the host gives it no thread."""
    return isinstance(error, RuntimeError) and "can't start new thread" in str(error)


def no_thread() -> MicroVMError:
    """The error to raise instead."""
    return MicroVMError(
        "this host gives us no more threads",
        hint="raise the limit on processes: `ulimit -u`, or pids.max of a cgroup around us",
    )

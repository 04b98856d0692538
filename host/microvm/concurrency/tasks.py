"""Cancels asyncio tasks and waits for them, and checks which event loop runs."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

from microvm.errors import UsageError


async def cancel(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancel tasks, wait until they have ended, and ignore their errors."""
    tasks = list(tasks)
    for task in tasks:
        task.cancel()
    await wait_ended(tasks)


async def wait_ended(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Wait until tasks have ended, and ignore their errors.

    :raises CancelledError: If the caller was cancelled meanwhile; raised after the tasks have
        ended.
    """
    cancelled: asyncio.CancelledError | None = None
    ended = asyncio.gather(*tasks, return_exceptions=True)
    while not ended.done():
        try:
            await asyncio.shield(ended)
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        raise cancelled


def is_cancelled() -> bool:
    """Return True if the current task was cancelled, and the cancellation is not undone."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def running_loop(kind: str) -> asyncio.AbstractEventLoop:
    """Return this thread's asyncio event loop. An error names the `kind` of object that needs it.

    :raises UsageError: If no asyncio loop runs in this thread, such as under trio.
    """
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        raise UsageError(
            f"a {kind} of `microvm` needs an event loop of asyncio, and none runs in this thread",
            hint="use `microvm.sync`, which needs none; under trio, in `trio.to_thread.run_sync`",
        ) from None


def check_loop(kind: str, loop: asyncio.AbstractEventLoop) -> None:
    """Raise an error about an object of this `kind`, unless its event `loop` runs in this thread.

    A task that waits for the object in another loop would wait forever.
    """
    if running_loop(kind) is not loop:
        raise UsageError(
            f"the {kind} belongs to another event loop, in which it was started",
            hint=f"a {kind} of microvm.sync can be used in all loops and threads",
        )

"""Helpers around asyncio's tasks: their end for certain, and the loop that they belong to."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

from microvm.errors import UsageError


async def cancel(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancel tasks, and wait for them as `settled` does.

    :raises CancelledError: whoever waits was cancelled meanwhile.
    """
    tasks = list(tasks)
    for task in tasks:
        task.cancel()
    await settled(tasks)


async def settled(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Wait for tasks to end, however they do.

    :raises CancelledError: whoever waits was cancelled meanwhile; when they have ended.
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


def running_loop(kind: str) -> asyncio.AbstractEventLoop:
    """Return the event loop of asyncio that runs in this thread.

    :param kind: the kind of object that needs the loop, in a word.
    :raises UsageError: no loop of asyncio runs in this thread, as under trio.
    """
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        raise UsageError(
            f"a {kind} of `microvm` needs a running event loop of asyncio, and there is none here",
            hint="use `microvm.sync`, which needs none; under trio, in `trio.to_thread.run_sync`",
        ) from None


def check_loop(kind: str, loop: asyncio.AbstractEventLoop) -> None:
    """Check that the running event loop is the one that an object was created in.

    In another loop, a task that waits for the object would wait forever.

    :param kind: the kind of the object, in a word.
    :raises UsageError: another loop runs, or none.
    """
    if running_loop(kind) is not loop:
        raise UsageError(
            f"the {kind} belongs to the event loop that it was started in, and this is another",
            hint="the one of microvm.sync can be used from all loops and threads",
        )

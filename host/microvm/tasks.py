"""Helpers that end asyncio tasks for certain."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any


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

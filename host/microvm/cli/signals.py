"""Signals that end a verb."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Coroutine
from typing import Any


async def status_of(
    work: Coroutine[Any, Any, int], interrupt: Callable[[], bool] = lambda: False
) -> int:
    """Do the work, and cancel it at a Ctrl-C, SIGTERM, SIGHUP or SIGQUIT.

    :param interrupt: called at a Ctrl-C; True if it has taken care of it.
    :return: the work's exit status, or 128+N when signal N has ended it.
    """
    loop = asyncio.get_running_loop()
    task = asyncio.create_task(work)
    ended_by = 0

    def end(number: int) -> None:
        nonlocal ended_by
        if number == signal.SIGINT and interrupt():
            return
        ended_by = number
        task.cancel()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
        loop.add_signal_handler(number, end, number)
    try:
        return await task
    except asyncio.CancelledError:
        return 128 + ended_by

"""Helpers that wait for what nothing announces."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

DEADLINE = 120.0
"""The seconds for anything that should happen at once: a busy machine is slow, not wrong."""

PAUSE = 0.005


def eventually(condition: Callable[[], object]) -> None:
    """Wait until a condition holds, or fail."""
    deadline = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < deadline, "it has not come true"
        time.sleep(PAUSE)


async def comes_true(condition: Callable[[], object]) -> None:
    """Wait until a condition holds, or fail, while the event loop goes on."""
    async with asyncio.timeout(DEADLINE):
        while not condition():  # noqa: ASYNC110 - nothing sets an event
            await asyncio.sleep(PAUSE)

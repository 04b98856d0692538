"""Helpers that wait for what nothing announces."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

DEADLINE = 120.0
"""The seconds for anything that should happen at once: a busy machine is slow, not wrong."""

PAUSE = 0.005


class Deadline:
    """A deadline that passes only while who waits is seen to wait.

    Of the time between two looks no more counts than a part of the whole: where this process was
    held up, what it waits for may have been as well.
    """

    def __init__(self, seconds: float) -> None:
        """Begin to wait."""
        self._left = seconds
        self._step = seconds / 20
        self._seen = time.monotonic()

    def passed(self) -> bool:
        """Look whether it has passed."""
        before, self._seen = self._seen, time.monotonic()
        self._left -= min(self._seen - before, self._step)
        return self._left < 0


def eventually(condition: Callable[[], object]) -> None:
    """Wait until a condition holds, or fail."""
    deadline = Deadline(DEADLINE)
    while not condition():
        assert not deadline.passed(), "it has not come true"
        time.sleep(PAUSE)


async def comes_true(condition: Callable[[], object]) -> None:
    """Wait until a condition holds, or fail, while the event loop goes on."""
    async with asyncio.timeout(DEADLINE):
        while not condition():  # noqa: ASYNC110 - nothing sets an event
            await asyncio.sleep(PAUSE)

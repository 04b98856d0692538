"""Helpers that poll for conditions that have no event."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from tests.support.parameters import PATIENCE

DEADLINE = 120.0 * PATIENCE
"""Maximum number of seconds until an immediate event, even on a busy host."""

PAUSE = 0.005


class PollDeadline:
    """A deadline that advances only while its user polls.

    Between two polls, at most a twentieth of the deadline counts. If a busy host delays this
    process, it may also delay the process that the test waits for.
    """

    def __init__(self, seconds: float) -> None:
        self._left = seconds
        self._step = seconds / 20
        self._seen = time.monotonic()

    def passed(self) -> bool:
        """Return True if the deadline has passed."""
        before, self._seen = self._seen, time.monotonic()
        self._left -= min(self._seen - before, self._step)
        return self._left < 0


def eventually(condition: Callable[[], object]) -> None:
    """Wait until a condition holds; fail after the deadline."""
    deadline = PollDeadline(DEADLINE)
    while not condition():
        assert not deadline.passed(), "it has not come true"
        time.sleep(PAUSE)


async def comes_true(condition: Callable[[], object]) -> None:
    """Wait until a condition holds, while the event loop runs; fail after the deadline."""
    async with asyncio.timeout(DEADLINE):
        while not condition():  # noqa: ASYNC110 - nothing sets an event
            await asyncio.sleep(PAUSE)

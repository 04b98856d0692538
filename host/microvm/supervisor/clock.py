"""The clock by which machines age: it goes on while the host sleeps."""

from __future__ import annotations

import asyncio
import time

STEP = 2.0
"""The longest time to wait for by asyncio's clock, which stands still meanwhile, in seconds."""


def now() -> float:
    """Return the time since the host was booted, in seconds."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


async def sleep(seconds: float) -> None:
    """Sleep, and wake up soon after the host does, where that is later."""
    end = now() + seconds
    while (left := end - now()) > 0:  # noqa: ASYNC110 - no event tells of it
        await asyncio.sleep(min(left, STEP))

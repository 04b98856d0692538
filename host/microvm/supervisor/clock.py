"""The clock for the age of machines, which continues while the host sleeps."""

from __future__ import annotations

import asyncio

from microvm.system import platform

MAX_SLEEP = 2.0
"""Maximum number of seconds of one sleep, because asyncio's clock stops while the host sleeps."""


def now() -> float:
    """Return the number of seconds since the host booted."""
    return platform.since_boot()


async def sleep(seconds: float) -> None:
    """Sleep for some seconds. The time for which the host is suspended counts, too.

    If the time ends while the host is suspended, return soon after the host wakes up.
    """
    end = now() + seconds
    while (left := end - now()) > 0:  # noqa: ASYNC110 - no event exists for this
        await asyncio.sleep(min(left, MAX_SLEEP))

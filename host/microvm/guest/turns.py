"""The requests that wait until a guest runs fewer commands."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager


class Turns:
    """A queue of requests for a guest. They get their turns in the order of their arrival."""

    def __init__(self) -> None:
        """Create an empty queue."""
        self._first = asyncio.Lock()  # only the first request of the queue holds the lock
        self._changed = asyncio.Event()

    @asynccontextmanager
    async def turn(self, is_free: Callable[[], bool]) -> AsyncIterator[None]:
        """Context manager: wait until no earlier request waits, and until `is_free` returns True.

        Later requests wait until the end of the block.
        """
        async with self._first:
            while not is_free():
                self._changed.clear()
                await self._changed.wait()
            yield

    def recheck(self) -> None:
        """Call `is_free` of the first request again, because the state of the guest has changed."""
        self._changed.set()

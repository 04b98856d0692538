"""The lock of the cache for starts of machines: in an event loop, with heartbeats of its holder."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from microvm.cache import lock
from microvm.errors import ImageError

HOLDER_TIMEOUT = 5.0
"""Seconds without a heartbeat after which nobody waits for a process that holds the lock."""

HEARTBEAT = 0.5
"""The time between two heartbeats, in seconds."""


@asynccontextmanager
async def held(path: Path, purpose: str, notify: Callable[[str], None]) -> AsyncIterator[None]:
    """Hold the right to make `path`; wait while another process has it, and lives.

    :param purpose: what a holder does, for messages: a verb and its object.
    :param notify: called with a line for the user where the wait is long.
    :raises ImageError: nothing can be made there, or the holder shows no sign of life.
    """
    # Counted, as it may be us whom a signal stops meanwhile, and that stops no clock.
    max_checks = round(HOLDER_TIMEOUT / lock.INTERVAL)
    heartbeat, checks, silent = None, 0, 0
    while True:
        with lock.attempt(path) as ours:
            if ours:
                beating = asyncio.create_task(_send_heartbeats(path))
                try:
                    yield
                finally:
                    beating.cancel()
                    await asyncio.wait([beating])
                return
        before, heartbeat = heartbeat, lock.last_heartbeat(path)
        checks, silent = checks + 1, silent + 1 if heartbeat == before else 0
        if silent > max_checks:
            who = lock.holder(path)
            raise ImageError(
                f"{who} {purpose}, and has given no sign of life for {HOLDER_TIMEOUT:g} s"
            )
        if checks == max_checks:
            notify(f"waiting for {lock.holder(path)}, which {purpose}")
        await asyncio.sleep(lock.INTERVAL)


async def _send_heartbeats(path: Path) -> None:
    while True:
        lock.heartbeat(path)
        await asyncio.sleep(HEARTBEAT)

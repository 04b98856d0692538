"""An asynchronous lock of a path in the cache. The holder of the lock sends heartbeats."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from microvm.cache import lock
from microvm.errors import CacheError

HOLDER_TIMEOUT = 5.0
"""Number of seconds without a heartbeat after which other processes stop waiting for the lock."""

HEARTBEAT = 0.5
"""Number of seconds between two heartbeats of the lock's holder."""


@asynccontextmanager
async def held(path: Path, purpose: str, notify: Callable[[str], None]) -> AsyncIterator[None]:
    """Context manager: wait for the lock of `path`, and hold it. Report a long wait to `notify`.

    While this process holds the lock, it sends heartbeats, which show others its progress.

    :param purpose: The work of the holder, for messages: a verb and its object, such as "saves a
        guest".
    """
    # Limit the number of checks without a new heartbeat, and not the seconds. While a signal, such
    # as SIGSTOP, stops this process and the holder of the lock, the clock continues. So when both
    # continue, a limit in seconds could be exceeded already.
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
            raise CacheError(f"{who} {purpose}, but has sent no heartbeat for {HOLDER_TIMEOUT:g} s")
        if checks == max_checks:
            notify(f"waiting for {lock.holder(path)}, which {purpose}")
        await asyncio.sleep(lock.INTERVAL)


async def _send_heartbeats(path: Path) -> None:
    while True:
        lock.heartbeat(path)
        await asyncio.sleep(HEARTBEAT)

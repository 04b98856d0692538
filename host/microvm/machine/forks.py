"""The public class `Forks`: machines or interpreters that continue from one snapshot."""

from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager
from typing import Any, Self, TypeVar

from microvm.concurrency.tasks import cancel, wait_ended
from microvm.system.capacity import usable_cpus

T = TypeVar("T", bound=AbstractAsyncContextManager[Any, None])


class Forks(list[T]):
    """A list of running forks of one machine or interpreter.

    As a context manager, it stops them at the end.
    """

    async def _start(self) -> Self:
        """Start all forks of the list, and wait until they are ready.

        At most one fork for each CPU of this host starts at the same time. If a fork cannot be
        started, all of them are stopped.
        """
        starting = asyncio.Semaphore(usable_cpus())

        async def begin(fork: T) -> None:
            async with starting:
                await fork.__aenter__()

        tasks = [asyncio.create_task(begin(fork)) for fork in self]
        try:
            await asyncio.gather(*tasks)
        except BaseException:
            await cancel(tasks)
            await self.stop()
            raise
        return self

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def stop(self) -> None:
        """Stop all forks of the list, in any state. Further calls have no effect."""
        await wait_ended([asyncio.ensure_future(fork.__aexit__(None, None, None)) for fork in self])

"""The turns of those who want the guest: it runs one command at a time, in the order of asking."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from microvm.errors import Busy
from microvm.supervisor import clock


class CommandQueue:
    """The turns at a guest.

    :ivar name: the machine's, for messages.
    :ivar runs: what has its turn, in words fit to be shown; empty for nothing.
    """

    def __init__(self, name: str) -> None:
        """Begin with a guest that is free."""
        self.name = name
        self.runs = ""
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._taken = asyncio.Event()
        self._free = asyncio.Event()
        self._free.set()

    @property
    def waits(self) -> int:
        """How many wait for their turn."""
        return len(self._waiting)

    @asynccontextmanager
    async def taken(self, what: str, *, wait: bool) -> AsyncIterator[None]:
        """Have the guest for as long as the block lasts.

        :param what: it is for, in words fit to be shown.
        :param wait: wait for our turn.
        :raises Busy: others have it, and we do not wait; says what they do.
        """
        if self.runs:
            if not wait:
                hint = "--wait, or wait=True, waits for its turn"
                raise Busy(f"machine {self.name} is busy: {self.runs}", hint=hint)
            await self._turn()
        self.runs = what
        self._free.clear()
        self._taken.set()
        try:
            yield
        finally:
            self._pass_on()

    async def _turn(self) -> None:
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if not turn.cancelled():
                self._pass_on()  # it came, and nobody is here to take it
            elif turn in self._waiting:
                self._waiting.remove(turn)
            raise

    def _pass_on(self) -> None:
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)  # `runs` stays: nobody is to come between
                return
        self.runs = ""
        self._taken.clear()
        self._free.set()

    async def idle(self, timeout: float) -> None:
        """Wait until nobody has used the guest for this long, in seconds."""
        while await self._is_used_within(timeout):
            pass

    async def _is_used_within(self, timeout: float) -> bool:
        await self._free.wait()
        end = clock.now() + timeout
        while (left := end - clock.now()) > 0:
            with suppress(TimeoutError):
                async with asyncio.timeout(min(left, clock.STEP)):
                    return await self._taken.wait()
        return False

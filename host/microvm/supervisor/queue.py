"""The queue of requests that use a guest, because a guest runs one command at a time."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from microvm.errors import Busy
from microvm.supervisor import clock


class CommandQueue:
    """The queue of requests that use a guest one after another, in the order of their arrival.

    :ivar runs: the current use of the guest, for people; empty if the guest is idle.
    :ivar advice: a hint that says how to see or end the current use of the guest; may be empty.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.runs = ""
        self.advice = ""
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._busy = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def length(self) -> int:
        """Number of requests that wait for the guest."""
        return len(self._waiting)

    @asynccontextmanager
    async def turn(self, purpose: str, *, wait: bool) -> AsyncIterator[None]:
        """Context manager: reserve the guest for a `purpose`; if it is busy, wait or raise Busy."""
        if self.runs:
            if not wait:
                hint = f"{self.advice}--wait, or wait=True, waits until it is idle"
                raise Busy(f"machine {self.name} is busy: {self.runs}", hint=hint)
            await self._wait()
        self.runs, self.advice = purpose, ""
        self._idle.clear()
        self._busy.set()
        try:
            yield
        finally:
            self._pass_on()

    def describe_detached(self, number: int, command: str) -> None:
        """Describe the current use of the guest as the detached command with the id `number`."""
        self.runs = f"{number}: {command}"
        self.advice = (
            f"`microvm logs {self.name} {number}` shows the output of this detached command, "
            f"`microvm kill {self.name} {number}` ends it; "
        )

    async def _wait(self) -> None:
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if not turn.cancelled():
                # The request was cancelled just when its turn came, so the next one gets the turn.
                self._pass_on()
            elif turn in self._waiting:
                self._waiting.remove(turn)
            raise

    def _pass_on(self) -> None:
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                # Keep `runs` set, so that no new request uses the guest before this waiting one.
                turn.set_result(None)
                return
        self.runs = ""
        self._busy.clear()
        self._idle.set()

    async def wait_unused(self, timeout: float) -> None:
        """Wait until no request has used the guest for `timeout` seconds without interruption."""
        while await self._is_used_within(timeout):
            pass

    async def _is_used_within(self, timeout: float) -> bool:
        await self._idle.wait()
        end = clock.now() + timeout
        while (left := end - clock.now()) > 0:
            with suppress(TimeoutError):
                async with asyncio.timeout(min(left, clock.MAX_SLEEP)):
                    return await self._busy.wait()
        return False

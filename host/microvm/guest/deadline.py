"""Timers of the event loop, and deadlines that count only the time in which the event loop ran."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

_STEP = 0.5
_LATE = 0.1


class Timer:
    """A timer that calls a function once, unless it is cancelled or started again before."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._handle: asyncio.TimerHandle | None = None

    @property
    def is_running(self) -> bool:
        return self._handle is not None

    def start(self, seconds: float, call: Callable[[], object]) -> None:
        """Call the function `call` after `seconds`; cancel a call that is still pending."""
        self.cancel()
        self._handle = self._loop.call_later(seconds, self._end, call)

    def _end(self, call: Callable[[], object]) -> None:
        self._handle = None
        call()

    def cancel(self) -> None:
        """Cancel the pending call; idempotent."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None


class Deadline(Timer):
    """A timer that counts only the time in which the event loop ran, in steps of half a second.

    While other code blocks the loop, or no call of `microvm.sync` runs, the host reads no messages
    of the guest, so the guest's answer may wait unread behind many others. A step at whose end the
    loop was late therefore counts as 0.05 s instead of half a second. It counts at all because a
    guest that floods the host with messages delays the loop, too.
    """

    def start(self, seconds: float, call: Callable[[], object]) -> None:
        """Call `call` when the event loop has run for `seconds`; cancel a call that is pending."""
        self.cancel()
        self._step(seconds, call)

    def _step(self, left: float, call: Callable[[], object]) -> None:
        step = min(_STEP, left)
        due = self._loop.time() + step
        self._handle = self._loop.call_at(due, self._count, due, step, left, call)

    def _count(self, due: float, step: float, left: float, call: Callable[[], object]) -> None:
        on_time = self._loop.time() - due < _LATE
        left -= step if on_time else _STEP / 10
        if left > 0.001:
            self._step(left, call)
        else:
            self._end(call)

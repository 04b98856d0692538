"""Timers of the event loop; a deadline is one that is fair to a guest we have not listened to."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

_STEP = 0.5
_LATE = 0.1


class Timer:
    """A timer calls a function after some seconds, unless it is cancelled or started again.

    :ivar is_running: whether it will.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._handle: asyncio.TimerHandle | None = None

    @property
    def is_running(self) -> bool:
        return self._handle is not None

    def start(self, seconds: float, call: Callable[[], object]) -> None:
        """Call a function in so many seconds, and nothing else that was to be called."""
        self.cancel()
        self._handle = self._loop.call_later(seconds, self._end, call)

    def _end(self, call: Callable[[], object]) -> None:
        self._handle = None
        call()

    def cancel(self) -> None:
        """Call nothing; idempotent."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None


class Deadline(Timer):
    """A deadline is a timer that counts the time in which our event loop ran.

    Code that blocks the loop, and whoever does other things between two calls of `microvm.sync`,
    finds what the guest has said meanwhile unread, and a good part of it may come before the
    answer. So half a second at whose end the loop was late counts only a tenth: not nothing, since
    a guest that floods us makes us late, too.
    """

    def start(self, seconds: float, call: Callable[[], object]) -> None:
        """Call a function when so many seconds have been counted."""
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

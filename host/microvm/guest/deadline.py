"""A deadline for a guest to say something, fair to one that we have not listened to."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

_STEP = 0.5
_LATE = 0.1


class Deadline:
    """Counts the time in which our event loop ran.

    Code that blocks the loop, and whoever does other things between two calls of `microvm.sync`,
    finds what the guest has said meanwhile unread, and a good part of it may come before the
    answer. So half a second at whose end the loop was late counts only a tenth: not nothing, since
    a guest that floods us makes us late, too.
    """

    def __init__(self, seconds: float, expired: Callable[[], object]) -> None:
        """Call `expired` when the time is up."""
        self._loop = asyncio.get_running_loop()
        self._left = seconds
        self._expired = expired
        self._begin()

    def _begin(self) -> None:
        self._step = min(_STEP, self._left)
        self._due = self._loop.time() + self._step
        self._timer = self._loop.call_at(self._due, self._end)

    def _end(self) -> None:
        on_time = self._loop.time() - self._due < _LATE
        self._left -= self._step if on_time else _STEP / 10
        if self._left > 0.001:
            self._begin()
        else:
            self._expired()

    def cancel(self) -> None:
        """Stop it; idempotent."""
        self._timer.cancel()

"""An event loop whose time passes when nothing else can happen.

What waits for ten seconds of a guest's silence takes none, and ends at the tenth second exactly,
however busy the machine. That is right as long as everything that happens is in this process: a
socket pair hands its bytes over at once, so where nothing is readable, only time can bring more.
"""

from __future__ import annotations

import asyncio
import selectors


class _Selector(selectors.SelectSelector):
    passed = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if not ready and timeout != 0:
            if timeout is None:
                raise RuntimeError("nothing is left to wait for")
            self.passed += timeout
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose time begins at 0, and is not that of the clock."""

    def __init__(self) -> None:
        self._selector_with_time = _Selector()
        super().__init__(self._selector_with_time)

    def time(self) -> float:
        """Return the seconds that have passed."""
        return self._selector_with_time.passed

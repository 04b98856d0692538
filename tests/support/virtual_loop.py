"""An event loop with a virtual time, which advances only when the loop is idle.

A test that waits for ten seconds of silence takes no real time, and its timer expires exactly after
ten seconds, however busy the host is. This is correct as long as all parts run in this process: a
socket pair transfers bytes at once, so if nothing is readable, only time can change that.
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
    """An event loop whose time begins at 0 and is independent of the clock."""

    def __init__(self) -> None:
        self._selector_with_time = _Selector()
        super().__init__(self._selector_with_time)

    def time(self) -> float:
        """Return the number of virtual seconds that have passed."""
        return self._selector_with_time.passed

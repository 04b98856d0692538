"""Freezes: what runs in a guest stands still, so that others can go on from there."""

from __future__ import annotations

import time
from typing import Self

from microvm.guest.guest import Guest


class Freeze:
    """A freeze of what commands have left running in a guest; its block's end lets it go on.

    The guest gets fresh entropy then: another one that goes on from there has had the same.

    :ivar seconds: how long it has lasted, once it is over; 0.0 if it has not begun.
    """

    def __init__(self, guest: Guest) -> None:
        """Prepare one of an idle guest."""
        self.seconds = 0.0
        self._guest = guest
        self._begun: float | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._begun is None or self._guest.error is not None:
            return
        self._guest.resume()
        self.seconds = time.monotonic() - self._begun

    async def begin(self) -> None:
        """Freeze what runs, and wait until the guest says so.

        :raises MicroVMError: see `Guest.keep`.
        """
        self._begun = time.monotonic()
        await self._guest.keep()

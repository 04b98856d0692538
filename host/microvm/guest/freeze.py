"""Freezing the commands of a guest while a checkpoint is taken."""

from __future__ import annotations

import time
from typing import Self

from microvm.guest.guest import Guest


class Freeze:
    """A context in which the commands that run in a guest can be frozen; leaving it resumes them.

    On resuming, the guest gets fresh entropy, because its clones start with the same state.

    :ivar seconds: Duration of the freeze after its end; 0.0 if nothing was frozen.
    """

    def __init__(self, guest: Guest) -> None:
        """Prepare to freeze an idle guest."""
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
        """Freeze the processes, and wait until the guest confirms it.

        :raises MicroVMError: As for `Guest.keep`.
        """
        self._begun = time.monotonic()
        await self._guest.keep()

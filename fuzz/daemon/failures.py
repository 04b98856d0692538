"""A run's failures, of which the smallest is told and kept."""

from __future__ import annotations

import time
from dataclasses import dataclass

from .. import report

SHRINKING = 60.0
"""Seconds that a failure may take to become small."""


class Enough(BaseException):
    """A failure has been made as small as time allows."""


@dataclass(frozen=True)
class Failure:
    """What has failed in an example."""

    error: Exception
    data: bytes
    at: float

    @property
    def what(self) -> str:
        """What was wrong, in a few words."""
        return getattr(self.error, "what", type(self.error).__name__)


class Failures:
    """Those of one run, of which the smallest is told."""

    def __init__(self, patience: float = SHRINKING) -> None:
        """Begin without any; each may take so many seconds to become small."""
        self._patience = patience
        self._smallest: Failure | None = None
        self._since = 0.0

    def note(self, error: Exception, data: bytes) -> None:
        """Take one more; of another kind than the first, it is another run's to find."""
        known = self._smallest
        new = Failure(error, data, time.monotonic())
        if known is None:
            self._since = time.monotonic()
        if known is None or (new.what == known.what and len(data) <= len(known.data)):
            self._smallest = new

    def check_time(self) -> None:
        """Raise when there has been one for long enough."""
        if self._smallest and time.monotonic() > self._since + self._patience:
            raise Enough

    def tell(self) -> None:
        """Write the smallest into the corpus, and raise it with its frames; nothing without one."""
        if self._smallest is None:
            return
        failure = self._smallest
        path = report.keep(failure.data, failure.what)
        failure.error.add_note(f"{report.explained(failure.data)}\n{path.name} is in the corpus")
        raise failure.error

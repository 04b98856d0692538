"""A run's failures, of which the smallest is told and kept."""

from __future__ import annotations

import math
import time

from .. import report
from ..disagreement import kind_of

SHRINKING = 60.0
"""Seconds that a failure may take to become small."""


class ShrinkTimeout(BaseException):
    """A failure has been made as small as time allows."""


class Failures:
    """The failures of one run, of which the smallest is told."""

    def __init__(self, seconds: float = SHRINKING) -> None:
        """Begin without any; it may take so many seconds to become small."""
        self._seconds = seconds
        self._until = math.inf
        self._smallest: tuple[Exception, bytes] | None = None

    def note(self, error: Exception, data: bytes) -> None:
        """Take one more; of another kind than the first, it is another run's to find."""
        if self._smallest is None:
            self._until = time.monotonic() + self._seconds
        elif kind_of(error) != kind_of(self._smallest[0]) or len(data) > len(self._smallest[1]):
            return
        self._smallest = error, data

    def check_time(self) -> None:
        """Raise when there has been one for long enough."""
        if time.monotonic() > self._until:
            raise ShrinkTimeout

    def tell(self) -> None:
        """Write the smallest into the corpus, and raise it with its frames; nothing without one."""
        if self._smallest is None:
            return
        error, data = self._smallest
        path = report.keep(data, kind_of(error))
        error.add_note(f"{report.explained(data)}\n{path.name} is in the corpus")
        raise error

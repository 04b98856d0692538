"""A search for failures: its seed and time, and what it finds, made small and kept."""

from __future__ import annotations

import itertools
import math
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import hypothesis
from hypothesis import HealthCheck, Phase

from .disagreement import kind_of
from .report import keep

Record = Callable[[str, object], None]
"""The fixture `record_property`: takes how many of something a rung has done."""

SETTINGS = hypothesis.settings(
    deadline=None,  # of an example; a target has its own
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
"""The settings of Hypothesis, which in CI takes the same examples every time."""

SHRINKING = 20.0
"""Seconds that a failure may take to become small."""


def batch(size: int, *phases: Phase) -> hypothesis.settings:
    """Return the settings of a batch of so many examples, of which the search has the seed."""
    return hypothesis.settings(
        SETTINGS,
        max_examples=size,
        database=None,
        print_blob=False,
        phases=[Phase.generate, *phases],
    )


@dataclass(frozen=True, slots=True)
class Search:
    """A search in batches, each of which has a seed of its own.

    :ivar seconds: how long it lasts; None where a test says how many batches it has.
    """

    seed: int
    seconds: float | None

    def batches(self, count: int) -> Iterator[int]:
        """Yield the seed of one batch after another, `count` of them where there is no time."""
        until = time.monotonic() + (self.seconds or 0)
        for number in itertools.count():
            if time.monotonic() > until if self.seconds else number == count:
                return
            yield hash((self.seed, number))


class Smallest:
    """The smallest failure of a batch of Hypothesis.

    :ivar error: what was raised, if anything was.
    :ivar data: what led to it, as it is kept.
    """

    def __init__(self) -> None:
        """Begin without a failure."""
        self.error: Exception | None = None
        self.data = b""
        self._until = math.inf

    def assume_time(self) -> None:
        """Reject an example when the time to shrink is over."""
        hypothesis.assume(time.monotonic() < self._until)

    def note(self, error: Exception, data: bytes) -> None:
        """Take a failure; one of another kind than the first is another run's."""
        if self.error is None:
            self._until = time.monotonic() + SHRINKING
        elif kind_of(error) != kind_of(self.error) or len(data) > len(self.data):
            return
        self.error, self.data = error, data


@contextmanager
def smallest(
    folder: Path, suffix: str = ".bin", explained: Callable[[bytes], str] | None = None
) -> Iterator[Smallest]:
    """Raise the smallest failure of the batch that is run meanwhile, once it is in the corpus."""
    failure = Smallest()
    try:
        yield failure
    except Exception:
        if failure.error is None:
            raise
    if error := failure.error:
        path = keep(failure.data, kind_of(error), folder, suffix)
        shown = [explained(failure.data)] if explained else []
        error.add_note("\n".join([*shown, f"{path.name} is in the corpus"]))
        raise error


class _Hung(KeyboardInterrupt):
    """It takes too long; only such an exception gets through an event loop."""


@contextmanager
def interrupted(seconds: float, error: Exception) -> Iterator[None]:
    """Raise an error when what is done takes longer on a real clock."""

    def interrupt(*_: object) -> None:
        raise _Hung

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, seconds, seconds)
    try:
        yield
    except _Hung:
        raise error from None
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)

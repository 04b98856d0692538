"""A search for failures with Hypothesis, which saves the smallest input of a failure."""

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

from .report import keep, kind_of

Record = Callable[[str, object], None]
"""Type of pytest's fixture `record_property`, which records the counts of a rung."""

SETTINGS = hypothesis.settings(
    deadline=None,  # per example; the targets have time limits of their own
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
"""The settings of Hypothesis."""

SHRINKING = 20.0  # maximum number of seconds in which Hypothesis reduces the input of a failure


def batch(size: int, *phases: Phase) -> hypothesis.settings:
    """Return the settings for a batch of `size` examples, whose seed the search chooses."""
    return hypothesis.settings(
        SETTINGS,
        max_examples=size,
        database=None,
        print_blob=False,
        phases=[Phase.generate, *phases],
    )


@dataclass(frozen=True, slots=True)
class Search:
    """A search for failures in batches, each with its own seed.

    :ivar seed: Seed from which the seeds of the batches are computed.
    :ivar seconds: Duration of the search; None if the test defines the number of batches.
    """

    seed: int
    seconds: float | None

    def batches(self, count: int) -> Iterator[int]:
        """Yield the seeds of the batches: `count` seeds, or as many as the time allows."""
        until = time.monotonic() + (self.seconds or 0)
        for number in itertools.count():
            if time.monotonic() > until if self.seconds else number == count:
                return
            yield hash((self.seed, number))


class Smallest:
    """The smallest input that caused a failure in a batch of Hypothesis."""

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.data = b""
        self._until = math.inf

    def assume_time(self) -> None:
        """Reject all examples when the time to reduce the input is over."""
        hypothesis.assume(time.monotonic() < self._until)

    def note(self, error: Exception, data: bytes) -> None:
        """Record a failure. Failures of another kind than the first one are ignored."""
        if self.error is None:
            self._until = time.monotonic() + SHRINKING
        elif kind_of(error) != kind_of(self.error) or len(data) > len(self.data):
            return
        self.error, self.data = error, data


@contextmanager
def smallest(
    folder: Path, suffix: str = ".bin", explained: Callable[[bytes], str] | None = None
) -> Iterator[Smallest]:
    """Save the smallest failure of the batch that the block runs to the corpus, and raise it."""
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
    """The time limit was exceeded. An event loop only passes on exceptions of this base class."""


@contextmanager
def interrupted(seconds: float, error: Exception) -> Iterator[None]:
    """Raise `error` if the block takes longer than `seconds` on the real clock."""

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

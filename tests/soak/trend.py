"""The trend of a resource: its growth, robust against single samples."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

WARM_UP = 0.25
"""The share of samples at the beginning that do not count."""

_MOST = 400  # maximum number of samples whose pairs are all compared


@dataclass(frozen=True)
class Bound:
    """The permitted growth of a resource, in its unit.

    :ivar fixed: growth independent of events.
    :ivar each: additional growth for each event.
    """

    fixed: float
    each: float = 0.0

    def of(self, done: float) -> float:
        """Return the permitted growth after a number of events."""
        return self.fixed + self.each * done


def slope(places: Sequence[float], values: Sequence[float]) -> float:
    """Return the slope of Theil and Sen: the median of the slopes of all pairs.

    Fewer than two places have the slope 0. Up to 29 % of the samples may be wrong without much
    effect.
    """
    step = -(-len(places) // _MOST)
    points = list(zip(places, values, strict=True))[::step]
    slopes = [
        (second - first) / (to - begun)
        for (begun, first), (to, second) in itertools.combinations(points, 2)
        if to > begun
    ]
    return median(slopes) if slopes else 0.0


def warm(samples: Sequence[float]) -> Sequence[float]:
    """Return the samples that count."""
    return samples[int(len(samples) * WARM_UP) :]


def growth(done: Sequence[float], values: Sequence[float]) -> float:
    """Return the growth of a resource over the samples that count, from their slope.

    :param done: number of finished events at each sample.
    """
    done, values = warm(done), warm(values)
    return slope(done, values) * (done[-1] - done[0]) if done else 0.0

"""The trend of a resource: by how much it grows, whatever single samples say."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

WARM_UP = 0.25
"""The share of the samples, from the first on, in which things are allowed to grow."""

_MOST = 400  # samples whose pairs are all looked at


@dataclass(frozen=True)
class Bound:
    """The growth of a resource that is no trend, in its unit.

    :ivar fixed: whatever is done.
    :ivar each: for each thing that is done, on top of it.
    """

    fixed: float
    each: float = 0.0

    def of(self, done: float) -> float:
        """The growth while so much is done."""
        return self.fixed + self.each * done


def slope(places: Sequence[float], values: Sequence[float]) -> float:
    """The slope of Theil and Sen: the median of those of all pairs; 0 of fewer than two places.

    Up to 29 % of the samples may be anything without moving it far.
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
    """The samples that count."""
    return samples[int(len(samples) * WARM_UP) :]


def growth(done: Sequence[float], values: Sequence[float]) -> float:
    """By how much a resource grows over the samples that count, by their slope.

    :param done: how many things had been done at each sample.
    """
    done, values = warm(done), warm(values)
    return slope(done, values) * (done[-1] - done[0]) if done else 0.0

"""What is measured, and what came of it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Kind:
    """Something that is measured.

    :ivar name: it ends in the unit.
    :ivar title: what it is and its unit, in the words of a table.
    :ivar beside: the kind that the floor measures for it.
    :ivar more_is_better: it is a rate; else a cost.
    """

    name: str
    title: str
    beside: str
    more_is_better: bool


def _cost(name: str, title: str, *, beside: str = "") -> Kind:
    return Kind(name, title, beside or name, more_is_better=False)


def _rate(name: str, title: str) -> Kind:
    return Kind(name, title, name, more_is_better=True)


KINDS = (
    _cost("cold_ready_ms", "cold boot to ready, ms"),
    _cost("warm_ready_ms", "clone to ready, ms"),
    _cost("warm_true_ms", "clone and its first true, ms"),
    _cost("warm_run_ms", "microvm run -- true, ms", beside="warm_true_ms"),
    _cost("pool_echo_ms", "first echo from a full pool, ms", beside="warm_true_ms"),
    _cost("exec_ms", "true, ms"),
    _cost("ping_ms", "ping, ms"),
    _rate("stdout_mb_s", "standard output, MB/s"),
    _rate("stdin_mb_s", "standard input, MB/s"),
    _rate("clones_per_s", "clones started per second"),
    _cost("clone_pss_mib", "memory of an idle clone, MiB"),
)
"""Everything that is measured, in the order of tables."""


@dataclass(frozen=True, slots=True)
class Figure:
    """A kind, with its samples in its unit; of ours there is at least one.

    :ivar floor: of the floor's `beside`; empty where the floor was not measured.
    """

    kind: Kind
    ours: tuple[float, ...]
    floor: tuple[float, ...] = ()

    @property
    def ratio(self) -> float | None:
        """Our median by the floor's."""
        return percentile(self.ours, 50) / percentile(self.floor, 50) if self.floor else None

    def tail(self, percent: float) -> float:
        """Return the best value that at least `percent` % of ours reach."""
        return percentile(self.ours, percent, descending=self.kind.more_is_better)


def percentile(samples: Sequence[float], percent: float, *, descending: bool = False) -> float:
    """Return the least sample that at least `percent` % of all samples do not exceed.

    :param descending: the greatest that they do not fall below.
    """
    rank = math.ceil(len(samples) * percent / 100)
    return sorted(samples, reverse=descending)[max(rank, 1) - 1]


def summary(figure: Figure) -> dict[str, float]:
    """Return what is quoted, by name: the median, the tail and the worst."""
    return {
        "median": figure.tail(50),
        "p95": figure.tail(95),
        "p99": figure.tail(99),
        "worst": figure.tail(100),
    }


def shown(value: float) -> str:
    """Return a value as a reader wants it: three digits or more."""
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"

"""The metrics of the benchmark, such as the time of a cold boot, and their measured values."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Metric:
    """A quantity that the benchmark measures, such as the time of a cold boot.

    :ivar name: Name, which ends with the unit of the values. A rate ends with `_s`.
    :ivar title: Title in tables, with the unit.
    :ivar baseline_metric: Name of the baseline's metric that this one is compared with.
    :ivar more_is_better: True if the metric is a rate, False if it is a cost such as a time.
    """

    name: str
    title: str
    baseline_metric: str
    more_is_better: bool


def _metric(name: str, title: str, baseline_metric: str = "") -> Metric:
    return Metric(name, title, baseline_metric or name, name.endswith("_s"))


METRICS = (
    _metric("cold_ready_ms", "cold boot to ready, ms"),
    _metric("warm_ready_ms", "clone to ready, ms"),
    _metric("warm_true_ms", "clone and its first true, ms"),
    _metric("warm_python_ms", "clone and its first python3, ms"),
    _metric("warm_run_ms", "microvm run -- true, ms", baseline_metric="warm_true_ms"),
    _metric("pool_echo_ms", "first echo from a full pool, ms", baseline_metric="warm_true_ms"),
    _metric("exec_ms", "true, ms"),
    _metric("ping_ms", "ping, ms"),
    _metric("stdout_mb_s", "standard output, MB/s"),
    _metric("stdin_mb_s", "standard input, MB/s"),
    _metric("get_mb_s", "a file out, MB/s", baseline_metric="stdout_mb_s"),
    _metric("put_mb_s", "a file in, MB/s", baseline_metric="stdin_mb_s"),
    _metric("pause_ms", "pause for a snapshot, ms"),
    _metric("snapshot_ms", "snapshot to ready, ms"),
    _metric("answer_ms", "clone of a snapshot, answer, ms", baseline_metric="warm_true_ms"),
    _metric("python_answer_ms", "the same of a python3, ms", baseline_metric="warm_python_ms"),
    _metric("next_answer_ms", "the next answer, ms"),
    _metric("forks_ms", "fork of ten, ten answers, ms"),
    _metric("fork_pss_mib", "memory of an idle fork, MiB", baseline_metric="clone_pss_mib"),
    _metric("clones_per_s", "clones started per second"),
    _metric("clone_pss_mib", "memory of an idle clone, MiB"),
)
"""All metrics, in the order in which tables show them."""


@dataclass(frozen=True, slots=True)
class Figure:
    """The measured values of a metric for microvm, and for comparison those of the baseline.

    :ivar samples: Values of microvm; there is at least one.
    :ivar baseline: Values of the baseline, plain QEMU; empty if it was not measured.
    :ivar default: Values of microvm with its default image, for comparison with an image that has a
        disk; empty if it was not measured.
    """

    metric: Metric
    samples: tuple[float, ...]
    baseline: tuple[float, ...] = ()
    default: tuple[float, ...] = ()

    @property
    def ratio(self) -> float | None:
        """Median of microvm's values divided by the baseline's median; None without a baseline."""
        return self._beside(self.baseline)

    @property
    def default_ratio(self) -> float | None:
        """Median of microvm divided by that of the default image; None if that is not measured."""
        return self._beside(self.default)

    def _beside(self, samples: Sequence[float]) -> float | None:
        return percentile(self.samples, 50) / percentile(samples, 50) if samples else None

    def tail(self, percent: float) -> float:
        """Return a percentile of microvm's values, counted from the best: 100 gives the worst."""
        return percentile(self.samples, percent, descending=self.metric.more_is_better)


def percentile(samples: Sequence[float], percent: float, *, descending: bool = False) -> float:
    """Return a percentile of the samples, counted from the highest sample if `descending`.

    This is the lowest sample V such that at least `percent` % of the samples are at most V.
    """
    rank = math.ceil(len(samples) * percent / 100)
    return sorted(samples, reverse=descending)[max(rank, 1) - 1]


def summary(figure: Figure) -> dict[str, float]:
    """Return the statistics of a figure by their names: median, percentiles and worst value."""
    return {
        "median": figure.tail(50),
        "p95": figure.tail(95),
        "p99": figure.tail(99),
        "worst": figure.tail(100),
    }


def formatted(value: float) -> str:
    """Format a number with at least three significant digits."""
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"

"""The report of a soak: a table of its resources."""

from __future__ import annotations

from collections.abc import Iterator

from .soak import Soak, Trend
from .trend import warm


def lines(soak: Soak) -> Iterator[str]:
    """Yield the table, the numbers of events, and the failures."""
    seconds = soak.samples.seconds[-1] if soak.samples else 0.0
    yield f"seed {soak.seed}: {soak.done} in {seconds:.0f} s, {len(soak.samples)} samples"
    yield ""
    for (event, outcome), count in sorted(soak.outcomes.items()):
        yield f"{count:6}  {event}: {outcome}"
    yield ""
    header = ("", "first", "last", "most", "growth", "bound")
    yield f"{header[0]:34}" + "".join(f"{name:>11}" for name in header[1:])
    for trend in soak.trends:
        yield _row(trend)
    for failure in soak.failures:
        yield f"\nFAILED: {failure.rstrip()}"
    for trend in soak.trends:
        if trend.is_upward:
            yield f"\nGREW: {trend.resource.name}: seed {soak.seed}"
    yield ""
    yield "good" if soak.is_good else "not good"


def _row(trend: Trend) -> str:
    unit = f", {trend.resource.unit}" if trend.resource.unit else ""
    values = warm(trend.values) or [0.0]
    shown = (values[0], values[-1], max(values), trend.growth, trend.bound)
    mark = " <--" if trend.is_upward else ""
    return f"{trend.resource.name + unit:34}" + "".join(f"{one:11.1f}" for one in shown) + mark

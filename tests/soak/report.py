"""The report of a soak: a table and a diagram."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from .soak import Soak, Trend
from .trend import WARM_UP, warm


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


def draw(soak: Soak, file: Path) -> None:
    """Draw each resource over the number of events.

    :param file: file to write; its suffix determines the format.
    """
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    trends = soak.trends
    done = soak.samples.done
    columns = 4
    figure, grid = plt.subplots(
        -(-len(trends) // columns), columns, figsize=(16, 14), layout="constrained", squeeze=False
    )
    figure.suptitle(f"{soak.done} starts, commands and faults from seed {soak.seed}")
    for axes, trend in zip(grid.flat, trends, strict=False):
        axes.plot(done, trend.values, color="#9b2226" if trend.is_upward else "#1b4965", lw=1)
        axes.axvspan(0, done[int(len(done) * WARM_UP)] if done else 0, color="#8d99ae", alpha=0.2)
        unit = f", {trend.resource.unit}" if trend.resource.unit else ""
        axes.set_title(f"{trend.resource.name}{unit}: {trend.growth:+.1f}", loc="left", fontsize=9)
        axes.tick_params(labelsize=8)
        axes.spines[["top", "right"]].set_visible(False)
    for axes in list(grid.flat)[len(trends) :]:
        axes.set_visible(False)
    figure.savefig(file, dpi=110)
    plt.close(figure)

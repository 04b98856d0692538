"""Draws the report of a benchmark: the steps of a boot, the distributions of times, and memory.

python -m microvm.bench.plot FILE.json PICTURE, with a file from `microvm bench --json FILE.json`
"""

from __future__ import annotations

import math
import re
import sys
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from microvm.bench import export
from microvm.bench.boot import PARTS, median
from microvm.bench.figures import Figure, formatted, percentile
from microvm.bench.report import Report
from microvm.errors import MicroVMError, UsageError, how_to_install

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FORMATS = (".svg", ".png")

_OURS, _BASELINE = "#1b4965", "#8d99ae"

# The colours differ in lightness, so people with colour blindness can distinguish them.
_COLOURS = ("#0b2545", "#1b7fa8", "#e07a1f", "#9b2226")

_STARTS = ("warm_ready_ms", "warm_true_ms", "warm_run_ms", "pool_echo_ms")
_ROUND_TRIPS = ("ping_ms", "exec_ms")


# With a fixed salt, matplotlib gives the elements of an SVG the same ids each time. Text is stored
# as text, not as shapes.
_STYLE: Any = {
    "svg.hashsalt": "microvm",
    "svg.fonttype": "none",
    "font.sans-serif": ["DejaVu Sans"],
}

# Matches the parts of an SVG that are removed because they only make it longer: indentation, and
# digits after the first decimal place.
_SURPLUS = re.compile(rb"(\.\d)\d{3,}|(?<=\n) +")


def check(file: Path) -> None:
    """Check that a picture can be drawn into this file, before anything is measured."""
    if file.suffix.lower() not in FORMATS:
        raise UsageError(f"cannot draw {file}: the name must end with one of {', '.join(FORMATS)}")
    try:
        import matplotlib as mpl
    except ImportError:
        raise MicroVMError(
            "cannot draw a plot: matplotlib is not installed", hint=how_to_install("vm,plot")
        ) from None
    mpl.use("Agg")


def draw(report: Report, file: Path) -> None:
    """Draw the report of a benchmark.

    The same report and version of matplotlib give the same picture.

    :param file: Path of the picture; its suffix selects the format.
    """
    import matplotlib.pyplot as plt
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    figure, ((boot, density), (starts, trips)) = plt.subplots(
        2, 2, figsize=(13, 8.5), layout=ConstrainedLayoutEngine(w_pad=0.15, h_pad=0.15)
    )
    host = report.platform
    figure.suptitle(
        f"microvm {host.microvm}: QEMU {host.qemu}, {host.accel.upper()}, "
        f"Linux {host.kernel}, {host.memory_mib} MiB, load {host.load:g}, {host.date[:10]}",
        fontsize=12,
    )
    _draw_boot(boot, report)
    _draw_density(density, report)
    _draw_distributions(starts, report, _STARTS, "Starts: the share that took at most this time")
    _draw_distributions(
        trips, report, _ROUND_TRIPS, "Round trips: the share that took at most this time"
    )
    form = file.suffix[1:].lower()
    try:
        with plt.rc_context(_STYLE):
            # Omit the date, so that the same report gives the same SVG.
            undated = {"Date": None} if form == "svg" else None
            figure.savefig(picture := BytesIO(), format=form, dpi=120, metadata=undated)
        drawn = picture.getvalue()
        file.write_bytes(_SURPLUS.sub(rb"\1", drawn) if form == "svg" else drawn)
    except OSError as error:
        raise MicroVMError(f"cannot write {file}: {error.strerror}") from error
    finally:
        plt.close(figure)


def _draw_boot(axes: Axes, report: Report) -> None:
    boot = median(report.boots)
    left = 0.0
    parts = boot.parts().items()
    for row, ((name, seconds), colour) in enumerate(zip(parts, _COLOURS, strict=True)):
        width = seconds * 1e3
        axes.barh(row, width, left=left, color=colour, height=0.5)
        axes.annotate(
            f"{PARTS[name]}: {formatted(width)} ms",
            (0, row),
            xytext=(0, 16),
            textcoords="offset points",
            fontsize=9,
        )
        left += width
    ends = {f"ready: {formatted(left)} ms": (left, _OURS)}
    for figure in report.figures:
        if figure.metric.name == "cold_ready_ms" and figure.baseline:
            baseline = percentile(figure.baseline, 50)
            ends[f"baseline: {formatted(baseline)} ms"] = (baseline, _BASELINE)
    for label, (end, colour) in ends.items():
        axes.axvline(end, color=colour, ls="--", lw=1.5, label=label)
    axes.set_title(f"Cold boot, the median of {len(report.boots)}", loc="left")
    axes.set_yticks([])
    axes.set_ylim(len(parts) - 0.4, -1)
    axes.set_xlim(0, max(end for end, _ in ends.values()) * 1.02)
    axes.set_xlabel("ms")
    axes.spines[["top", "right", "left"]].set_visible(False)
    _add_legend(axes)


def _draw_density(axes: Axes, report: Report) -> None:
    styles = ((_OURS, "-"), (_BASELINE, ":"), (_COLOURS[2], "--"))
    for (contender, density), (colour, style) in zip(
        report.densities.items(), styles, strict=False
    ):
        alive = sorted(density.memory)
        sizes = [density.memory[count] for count in alive]
        label = f"{contender}: {density.count / density.seconds:.1f} started per second"
        if sizes:
            label += f", {sizes[-1]:.1f} MiB each with {density.count} alive"
        axes.plot(alive, sizes, color=colour, label=label, marker="o", lw=2, ls=style)
    axes.set_title("Memory of each idle clone, by how many are alive", loc="left")
    axes.set_xlabel("clones alive")
    axes.set_ylabel("proportional set size, MiB")
    axes.set_ylim(bottom=0)
    _finish(axes)


def _draw_distributions(axes: Axes, report: Report, names: tuple[str, ...], title: str) -> None:
    figures = [figure for figure in report.figures if figure.metric.name in names]
    for figure, colour in zip(figures, _COLOURS, strict=False):
        axes.ecdf(_percents(figure.samples), color=colour, label=_label(figure), lw=2)
        if figure.baseline and figure.metric.baseline_metric == figure.metric.name:
            baseline = f"baseline: {formatted(percentile(figure.baseline, 50))}"
            axes.ecdf(_percents(figure.baseline), color=colour, label=baseline, lw=1.5, ls=":")
    axes.set_title(title, loc="left")
    axes.set_xlabel("ms; medians in the legend")
    axes.set_ylim(0, 1.02)
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    _finish(axes)


def _percents(samples: tuple[float, ...]) -> list[float]:
    """Return every second percentile of the samples; the picture is too small to show more."""
    return [percentile(samples, percent) for percent in range(2, 101, 2)]


def _label(figure: Figure) -> str:
    return f"{figure.metric.title.removesuffix(', ms')}: {formatted(figure.tail(50))}"


def _finish(axes: Axes) -> None:
    """Give the axes a logarithmic scale with plain numbers, a grid, and the legend."""
    from matplotlib.ticker import LogLocator

    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.minorticks_off()
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    _add_legend(axes)


def _add_legend(axes: Axes) -> None:
    """Add the legend below the picture.

    Each of its columns has two entries, microvm and the baseline.
    """
    columns = math.ceil(len(axes.get_legend_handles_labels()[1]) / 2)
    axes.legend(
        loc="upper left",
        bbox_to_anchor=(-0.02, -0.14),
        ncols=columns,
        frameon=False,
        fontsize=8.5,
        handlelength=1.6,
        columnspacing=1,
    )


if __name__ == "__main__":
    check(Path(sys.argv[2]))
    draw(export.from_json(Path(sys.argv[1]).read_text()), Path(sys.argv[2]))

"""A report as a picture: the boot as a stacked bar, the latencies as distributions."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from microvm.bench.report import Latencies, Report, median
from microvm.bench.table import MEANINGS
from microvm.errors import MicroVMError, UsageError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FORMATS = (".svg", ".png")

# Told apart also without colour: they differ in lightness.
_COLOURS = {"qemu": "#1b4965", "kernel": "#5fa8d3", "daemon": "#f4a259", "handshake": "#bc4b51"}


def check(file: Path) -> None:
    """See that a plot can be made there, before anything is measured.

    :raise UsageError: the file is neither SVG nor PNG.
    :raise MicroVMError: matplotlib is not installed.
    """
    if file.suffix.lower() not in FORMATS:
        raise UsageError(f"{file}: a plot is one of {', '.join(FORMATS)}")
    try:
        import matplotlib as mpl
    except ImportError:
        raise MicroVMError("plots need matplotlib", hint="pip install 'microvm[plot]'") from None
    mpl.use("Agg")


def draw(report: Report, file: Path) -> None:
    """Draw the report.

    :param file: its suffix chooses the format.
    :raise MicroVMError: it cannot be written.
    """
    import matplotlib.pyplot as plt

    figure, (boots, latencies) = plt.subplots(
        2, 1, figsize=(9, 6.2), height_ratios=(1, 1.9), layout="constrained"
    )
    place = report.platform
    figure.suptitle(
        f"microvm {place.microvm}: QEMU {place.qemu}, {place.accel.upper()}, "
        f"Linux {place.kernel}, {place.date[:10]}",
        fontsize=11,
    )
    _draw_boot(boots, report)
    _draw_latencies(latencies, report)
    try:
        figure.savefig(file, dpi=150)
    except OSError as error:
        raise MicroVMError(f"cannot write {file}: {error.strerror}") from error
    finally:
        plt.close(figure)


def _draw_boot(axes: Axes, report: Report) -> None:
    boot = median(report.boots)
    left = 0.0
    for name, seconds in boot.parts().items():
        label = f"{MEANINGS[name]}: {seconds * 1e3:.1f} ms"
        axes.barh(0, seconds * 1e3, left=left * 1e3, color=_COLOURS[name], label=label, height=0.6)
        left += seconds
    axes.set_title(
        f"Cold boot: {boot.total * 1e3:.0f} ms, the median of {len(report.boots)}", loc="left"
    )
    axes.set_yticks([])
    axes.set_ylim(-0.4, 1.9)
    axes.set_xlim(0, boot.total * 1e3)
    axes.set_xlabel("ms")
    axes.legend(loc="upper left", ncols=2, frameon=False, fontsize=9)
    axes.spines[["top", "right", "left"]].set_visible(False)


def _draw_latencies(axes: Axes, report: Report) -> None:
    _draw_distribution(axes, report.pings, "ping", _COLOURS["kernel"])
    name = f"exec of {' '.join(report.exec_command)}"
    _draw_distribution(axes, report.execs, name, _COLOURS["handshake"])
    axes.set_title("Round trips: the share that took at most so long", loc="left")
    axes.set_xscale("log")
    axes.set_xlabel("ms")
    axes.set_ylim(0, 1.02)
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.grid(alpha=0.25, which="both")
    axes.legend(loc="center", framealpha=0.9, edgecolor="none")
    axes.spines[["top", "right"]].set_visible(False)


def _draw_distribution(axes: Axes, latencies: Latencies, name: str, colour: str) -> None:
    label = f"{name}: p50 {latencies.percentile(50) * 1e3:.2f} ms, p99 "
    label += f"{latencies.percentile(99) * 1e3:.2f} ms"
    axes.ecdf([sample * 1e3 for sample in latencies.samples], color=colour, label=label, lw=2)

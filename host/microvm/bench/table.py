"""Prints the report of a benchmark as tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from microvm.bench.boot import PARTS, median
from microvm.bench.figures import formatted, percentile
from microvm.bench.report import Report

if TYPE_CHECKING:
    from rich.table import Table


def show(report: Report) -> None:
    """Print the report of a benchmark as tables to standard output."""
    from rich.console import Console

    console = Console()
    console.print(_about(report), highlight=False, markup=False, soft_wrap=True)
    console.print(_figures(report))
    console.print(_boots(report))


def _about(report: Report) -> str:
    host = report.platform
    return (
        f"microvm {host.microvm}, QEMU {host.qemu}, {host.accel.upper()}, {host.cpus} CPUs "
        f"({host.cpu}), load {host.load:g}, {host.date}\n"
        f"guest: Linux {host.kernel}, {host.memory_mib} MiB, image {host.image}"
    )


def _table(title: str, *columns: str) -> Table:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD)
    table.add_column(columns[0])
    for column in columns[1:]:
        table.add_column(column, justify="right")
    return table


def _figures(report: Report) -> Table:
    alive = report.densities["microvm"].count
    title = f"Compared with the baseline; the last two rows with {alive} clones at the same time"
    columns = ["", "median", "p95", "worst", "baseline", "ratio"]
    beside_default = any(figure.default for figure in report.figures)
    if beside_default:
        title = title.replace("the baseline", "the baseline and the default image")
        columns += ["default", "ratio"]
    table = _table(title, *columns)
    for figure in report.figures:
        values = [formatted(figure.tail(percent)) for percent in (50, 95, 100)]
        values += _beside(figure.baseline, figure.ratio)
        if beside_default:
            values += _beside(figure.default, figure.default_ratio)
        table.add_row(figure.metric.title, *values)
    return table


def _beside(samples: Sequence[float], ratio: float | None) -> tuple[str, str]:
    if ratio is None:
        return "", ""
    return formatted(percentile(samples, 50)), f"{ratio:.2f}"


def _boots(report: Report) -> Table:
    boot = median(report.boots)
    table = _table(f"Cold boot, the median of {len(report.boots)}", "part", "ms", "%")
    for name, seconds in boot.parts().items():
        table.add_row(PARTS[name], f"{seconds * 1e3:.1f}", f"{seconds / boot.total:.0%}"[:-1])
    table.add_row("ready", f"{boot.total * 1e3:.1f}", "100", style="bold")
    return table

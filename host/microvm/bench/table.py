"""A report for people, on a terminal or anywhere else."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from microvm.bench.report import Report, Throughput, median

if TYPE_CHECKING:
    from rich.table import Table

MEANINGS = {
    "qemu": "QEMU's start, up to the guest's first instruction",
    "kernel": "the guest's kernel, up to its first process",
    "daemon": "sandboxd, up to its open port",
    "handshake": "hello, and ready",
}


def show(report: Report) -> None:
    """Print the report to standard output."""
    from rich.console import Console

    console = Console()
    console.print(_about(report), highlight=False, markup=False, soft_wrap=True)
    for table in (_boots(report), _latencies(report)):
        console.print(table)
    for name, throughput in (("stdout", report.stdout), ("stdin", report.stdin)):
        line = _throughput(name, throughput)
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def _about(report: Report) -> str:
    place = report.platform
    return (
        f"microvm {place.microvm}, QEMU {place.qemu}, {place.accel.upper()}, {place.cpus} CPUs "
        f"({place.cpu}), {place.date}\n"
        f"guest: Linux {place.kernel}, {place.memory_mib} MiB, image {place.image}"
    )


def _throughput(name: str, throughput: Throughput) -> str:
    return f"{name}: {throughput.megabytes_per_second:.0f} MB/s ({' '.join(throughput.command)})"


def _table(title: str, *columns: str) -> Table:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD)
    table.add_column(columns[0])
    for column in columns[1:]:
        table.add_column(column, justify="right")
    return table


def _boots(report: Report) -> Table:
    boot = median(report.boots)
    table = _table(f"Cold boot, the median of {len(report.boots)}", "part", "ms", "%")
    for name, seconds in boot.parts().items():
        table.add_row(MEANINGS[name], f"{seconds * 1e3:.1f}", f"{seconds / boot.total:.0%}"[:-1])
    table.add_row("ready", f"{boot.total * 1e3:.1f}", "100", style="bold")
    return table


def _latencies(report: Report) -> Table:
    title = f"Round trips, ms, of {len(report.execs.samples)} each"
    table = _table(title, "", "p50", "p95", "p99", "max")
    for name, values in _rows(report):
        table.add_row(name, *(f"{value * 1e3:.2f}" for value in values))
    return table


def _rows(report: Report) -> Iterator[tuple[str, list[float]]]:
    yield "ping", list(report.pings.summary().values())
    yield f"exec of {' '.join(report.exec_command)}", list(report.execs.summary().values())

"""`microvm bench`: what a machine costs here."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import click

from microvm.cli import shared


@click.command()
@shared.image
@shared.memory
@shared.accel
@click.option(
    "--boots", type=click.IntRange(1), default=5, show_default=True, help="Machines to boot."
)
@click.option(
    "--execs",
    type=click.IntRange(1),
    default=200,
    show_default=True,
    help="Commands to run, and pings to send.",
)
@click.option(
    "--json",
    "json_file",
    type=click.Path(dir_okay=False, path_type=Path, allow_dash=True),
    metavar="FILE",
    help="Write the figures as JSON; `-` for standard output, instead of the table.",
)
@click.option(
    "--plot",
    "plot_file",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Draw them; .svg or .png.",
)
def bench(
    image: str | None,
    memory: str,
    accel: Literal["auto", "kvm", "tcg"],
    boots: int,
    execs: int,
    json_file: Path | None,
    plot_file: Path | None,
) -> None:
    """Measure boot time, exec latency and throughput on this machine.

    Each boot is a cold one, from before QEMU is spawned to the guest's `ready`, and is split into
    its parts. The last machine then answers pings, runs `true`, and writes and reads
    64 MiB.
    """
    import asyncio

    from microvm.bench import export, plot, table
    from microvm.bench.measure import Plan, measure
    from microvm_image import default, load
    from microvm_image.progress import on_stderr

    if plot_file:
        plot.check(plot_file)
    with on_stderr() as report_to:
        found = load(image) if image else default(report=report_to)
        plan = Plan(found, memory=memory, accel=accel, boots=boots, execs=execs)
        report = asyncio.run(measure(plan, progress=report_to.step, notify=report_to.notice))
    if plot_file:
        plot.draw(report, plot_file)
    if json_file:
        with click.open_file(str(json_file), "w") as file:
            file.write(export.to_json(report))
    if str(json_file) != "-":
        table.show(report)

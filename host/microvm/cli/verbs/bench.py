"""`microvm bench`: what a machine costs here."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from microvm.cli import shared
from microvm.option import read_options
from microvm.options import ImageOptions, PoolOptions


@click.command()
@shared.options(ImageOptions, "bench")
@click.option(
    "--kernel", metavar="FILE|small|debian", help="Measure an image with this kernel instead."
)
@shared.options(PoolOptions, "bench")
@click.option(
    "--boots",
    default="5",
    callback=shared.count(1),
    metavar="N",
    show_default=True,
    help="Machines to boot.",
)
@click.option(
    "--execs",
    default="200",
    callback=shared.count(1),
    metavar="N",
    show_default=True,
    help="Commands to run, and pings to send.",
)
@click.option(
    "--clones",
    default="20",
    callback=shared.count(1),
    metavar="N",
    show_default=True,
    help="Clones to start one by one, then to have alive at once.",
)
@click.option("--floor/--no-floor", default=True, help="Measure raw QEMU beside it, the default.")
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
@shared.verbose
def bench(
    image: str | None,
    kernel: str | None,
    boots: int,
    execs: int,
    clones: int,
    floor: bool,
    json_file: Path | None,
    plot_file: Path | None,
    **options: Any,
) -> None:
    """Measure what a machine costs here, in time and memory.

    Machines are booted and cloned, answer pings, run `true`, move 64 MiB each way, come from a
    pool, are alive all at once, and are forked with a process that waits in them. Each figure
    stands beside its floor: raw QEMU with the same kernel and file system, and a guest that does
    nothing but answer, measured in turn with ours.

    An image with a disk stands beside the default image, too. Where it has python3, what that takes
    to start in a new clone is measured: to have it warmed up as the floor's is, the image must have
    been built with `--warm 'python3 -c pass'`.
    """
    import asyncio

    from microvm.bench import export, plot, table
    from microvm.bench.measure import Plan, check_memory, measure
    from microvm.progress import on_stderr
    from microvm_image import default, load
    from microvm_image.build import build

    machine = read_options(PoolOptions, shared.given(PoolOptions, options))
    if image is not None and kernel:
        raise click.UsageError("--image has its kernel: --kernel is for another image")
    check_memory(machine["memory"])  # an image may have to be built first
    for path in (json_file, plot_file):
        if path and str(path) != "-" and not os.access(path.parent, os.W_OK):
            raise click.UsageError(f"cannot write {path}: its folder is not there, or not ours")
    if plot_file:
        plot.check(plot_file)
    with on_stderr() as report_to:
        if image is not None:
            found = load(image)
        else:
            found = build(kernel=kernel, report=report_to) if kernel else default(report=report_to)
        beside = default(report=report_to) if found.disk else None
        plan = Plan(
            found,
            machine["memory"],
            machine["accel"],
            machine["confinement"],
            boots,
            execs,
            clones,
            floor,
            beside,
        )
        report = asyncio.run(measure(plan, report_to))
    if plot_file:
        plot.draw(report, plot_file)
    if json_file:
        with click.open_file(str(json_file), "w") as file:
            file.write(export.to_json(report))
    if str(json_file) != "-":
        table.show(report)

"""`microvm bench`: measure the time and memory that machines need on this host."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from microvm.bench import export, plot, table
from microvm.bench.measure import Plan, check_memory, measure
from microvm.cli import docker_hints, parameters
from microvm.cli.parameters import F
from microvm.images import load
from microvm.option import complete_options
from microvm.options import ImageOptions, PoolOptions
from microvm.progress import on_stderr
from microvm_image import default
from microvm_image.build import build


def _count(name: str, default: str, about: str) -> Callable[[F], F]:
    counted = parameters.count(1)
    return click.option(
        name, default=default, callback=counted, metavar="N", show_default=True, help=about
    )


@click.command(cls=docker_hints.HintingCommand)
@parameters.options(ImageOptions, "bench")
@parameters.option(
    "--kernel FILE|small|debian", "Build and measure an image with this kernel instead."
)
@parameters.options(PoolOptions, "bench")
@_count("--boots", "5", "Boot this number of machines.")
@_count("--execs", "200", "Run this number of commands, and send this number of pings.")
@_count(
    "--clones",
    "20",
    "Start this number of clones one after another, then the same number at the same time.",
)
@click.option(
    "--baseline/--no-baseline",
    default=True,
    help="Also measure plain QEMU, for comparison. [default: --baseline]",
)
@parameters.option(
    "--json json_file FILE",
    "Write the figures to FILE as JSON; with `-`, print JSON instead of the table.",
    type=click.Path(dir_okay=False, path_type=Path, allow_dash=True),
)
@parameters.option(
    "--plot plot_file FILE",
    "Draw the figures to FILE, which ends with .svg or .png.",
    type=click.Path(dir_okay=False, path_type=Path),
)
@parameters.verbose
def bench(
    image: str | None,
    kernel: str | None,
    boots: int,
    execs: int,
    clones: int,
    baseline: bool,
    json_file: Path | None,
    plot_file: Path | None,
    **options: Any,
) -> None:
    """Measure the time and memory that machines need on this host.

    The benchmark boots and clones machines, sends pings, runs `true`, transfers 64 MiB in each
    direction, takes machines from a pool, runs many machines at the same time, and forks a machine
    in which a process waits. Each figure is compared with a baseline: plain QEMU with
    the same kernel and file system, and a minimal guest that only answers. microvm and the baseline
    are measured alternately.

    An image with a disk is also compared with the default image. If the image contains python3, the
    start of python3 in a new clone is measured. Build such an image with `--warm 'python3 -c pass'`
    for a fair comparison, because python3 is warmed up in the baseline.
    """
    machine = complete_options(PoolOptions, parameters.given_options(PoolOptions, options))
    arch = machine["arch"]
    if image is not None and kernel:
        raise click.UsageError("--image includes a kernel: leave out --kernel or --image")
    # check the memory now, before the image is built, because building takes long
    check_memory(machine["memory"])
    for path in (json_file, plot_file):
        if path and str(path) != "-" and not os.access(path.parent, os.W_OK):
            raise click.UsageError(f"cannot write {path}: its folder is missing or not writable")
    if plot_file:
        plot.check(plot_file)
    with on_stderr() as report_to:
        if image is not None:
            found = load(image, arch)
        elif kernel:
            found = build(arch=arch, kernel=kernel, report=report_to)
        else:
            found = default(arch=arch, report=report_to)
        beside = default(arch=found.manifest.arch, report=report_to) if found.disk else None
        plan = Plan(found, machine, boots, execs, clones, baseline, beside)
        report = asyncio.run(measure(plan, report_to))
    if plot_file:
        plot.draw(report, plot_file)
    if json_file:
        with click.open_file(str(json_file), "w") as file:
            file.write(export.to_json(report))
    if str(json_file) != "-":
        table.show(report)

"""`python -m tests.soak`: random starts, commands and faults; it fails if a resource grows."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from microvm.qemu import launcher
from microvm_image import default

from . import report
from .events import EVENTS
from .soak import Soak

ENDLESS = 24 * 3600.0


@contextmanager
def of_its_own() -> Iterator[tuple[Path, Path]]:
    """Yield a cache that contains only the launcher, and a folder for temporary files."""
    top = Path(tempfile.mkdtemp(prefix="microvm-soak-", dir="/tmp"))
    top.chmod(0o755)
    programs, temporary = top / "cache/programs", top / "temporary"
    programs.mkdir(parents=True)
    temporary.mkdir()
    shutil.copy2(launcher.find(), programs)
    before = {name: os.environ.get(name) for name in ("MICROVM_CACHE", "TMPDIR")}
    os.environ |= {"MICROVM_CACHE": str(top / "cache"), "TMPDIR": str(temporary)}
    tempfile.tempdir = None  # the result is cached
    try:
        yield top / "cache", temporary
    finally:
        tempfile.tempdir = None
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value
        shutil.rmtree(top)


@click.command()
@click.option("--seconds", type=float, default=1200, show_default=True, help="How long it goes on.")
@click.option("--seed", type=int, help="What it is drawn from; by default another each time.")
@click.option("--interval", type=float, default=2, show_default=True, help="Seconds to a sample.")
@click.option("--plot", type=click.Path(path_type=Path), help="Draw a picture: .svg or .png.")
@click.option("--starts", type=int, default=0, help="Only so many clones, however long it takes.")
@click.option("--kills-qemu", type=int, default=0, help="Only so many QEMUs killed.")
@click.option("--kills-controller", type=int, default=0, help="Only so many controllers killed.")
def main(
    seconds: float,
    seed: int | None,
    interval: float,
    plot: Path | None,
    starts: int,
    kills_qemu: int,
    kills_controller: int,
) -> None:
    """Run random starts, commands and faults; exit with 1 if a resource grows or remains.

    Every few seconds, while no event runs, it samples the resources of the host, and of a guest
    that runs all the time. A trend is the slope of Theil and Sen over all but the first quarter.
    """
    seed = random.SystemRandom().randrange(1 << 32) if seed is None else seed
    click.echo(f"seed {seed}")
    counts = {"clone": starts, "QEMU killed": kills_qemu, "controller killed": kills_controller}
    plan = [EVENTS[name] for name, count in counts.items() for _ in range(count)]
    image = default()
    with of_its_own() as (cache, temporary):
        soak = Soak(
            image,
            cache,
            temporary,
            seed,
            seconds=ENDLESS if plan else seconds,
            interval=interval,
            plan=plan or None,
            tell=click.echo,
        )
        asyncio.run(soak.run())
    click.echo("\n".join(report.lines(soak)))
    if plot:
        report.draw(soak, plot)
    sys.exit(not soak.is_good)


if __name__ == "__main__":
    main()

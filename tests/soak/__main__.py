"""`python -m tests.soak`: random starts, commands and faults; it fails if a resource grows."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import click
from tests.support.small_disk import small_disk

from microvm.qemu import launcher
from microvm_image import default

from . import report
from .endurance import endure
from .events import EVENTS
from .soak import Soak

ENDLESS = 24 * 3600.0


_VARIABLES = "MICROVM_CACHE", "TMPDIR", "XDG_RUNTIME_DIR"


@contextmanager
def of_its_own(disk: str = "") -> Iterator[tuple[Path, Path]]:
    """Yield a cache that contains only the launcher, and a folder for temporary files.

    Named machines and pools use the folder for temporary files, too.

    :param disk: size of a disk for both folders, which only root can mount; empty for no new disk.
    """
    top = Path(tempfile.mkdtemp(prefix="microvm-soak-", dir="/tmp"))
    before = {name: os.environ.get(name) for name in _VARIABLES}
    try:
        with small_disk(top, disk) if disk else nullcontext():
            top.chmod(0o755)
            cache, temporary = top / "cache", top / "temporary"
            (cache / "programs").mkdir(parents=True)
            temporary.mkdir(mode=0o700)
            shutil.copy2(launcher.find(), cache / "programs")
            os.environ |= dict(
                zip(_VARIABLES, map(str, (cache, temporary, temporary)), strict=True)
            )
            tempfile.tempdir = None  # the result is cached
            yield cache, temporary
    finally:
        tempfile.tempdir = None
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value
        shutil.rmtree(top)


@click.command()
@click.option(
    "--seconds", type=float, default=1200, show_default=True, help="Duration of a random run."
)
@click.option("--seed", type=int, help="Seed of the random order; a random one by default.")
@click.option(
    "--interval", type=float, default=2, show_default=True, help="Seconds between samples."
)
@click.option(
    "--commands", type=int, default=0, help="Run only this number of commands, 16 at a time."
)
@click.option("--starts", type=int, default=0, help="Start only this number of clones.")
@click.option("--kills-qemu", type=int, default=0, help="Kill only this number of QEMUs.")
@click.option(
    "--kills-controller", type=int, default=0, help="Kill only this number of controllers."
)
@click.option("--pool", is_flag=True, help="Run only the events of a named pool; needs root.")
def main(
    seconds: float,
    seed: int | None,
    interval: float,
    commands: int,
    starts: int,
    kills_qemu: int,
    kills_controller: int,
    pool: bool,
) -> None:
    """Run random starts, commands and faults; exit with 1 if a resource grows or remains.

    Every few seconds, while no event runs, it samples the resources of the host, and of a guest
    that runs all the time. A trend is the slope of Theil and Sen over all but the first quarter.
    """
    if commands:
        sys.exit(_endure(commands))
    seed = random.SystemRandom().randrange(1 << 32) if seed is None else seed
    click.echo(f"seed {seed}")
    counts = {"clone": starts, "QEMU killed": kills_qemu, "controller killed": kills_controller}
    plan = [EVENTS[name] for name, count in counts.items() for _ in range(count)]
    image = default()
    with of_its_own("2g" if pool else "") as (cache, temporary):
        soak = Soak(
            image,
            cache,
            temporary,
            seed,
            seconds=ENDLESS if plan else seconds,
            interval=interval,
            plan=plan or None,
            pool=pool,
            tell=click.echo,
        )
        asyncio.run(soak.run())
    click.echo("\n".join(report.lines(soak)))
    sys.exit(not soak.is_good)


def _endure(commands: int) -> int:
    """Run this number of commands in one machine, print all faults, and return the exit status."""
    begun = time.monotonic()
    with of_its_own() as folders:
        wrong = asyncio.run(endure(default(), *folders, commands))
    seconds = time.monotonic() - begun
    click.echo("\n".join([*wrong, f"{commands} commands in {seconds:.0f} s, {len(wrong)} faults"]))
    return int(bool(wrong))


if __name__ == "__main__":
    main()

"""`make fuzz`: climb the ladder, and show what came of it."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import IO

import click

from .decoder.coverage import Meter
from .ladder import LADDER, climb_apart
from .outcome import Outcome
from .report import corpus

NAMES = [rung.name for rung in LADDER]


@click.command()
@click.option(
    "--seconds",
    type=click.FloatRange(1),
    default=300.0,
    show_default=True,
    help="For all rungs together; compiling, booting and proving come on top.",
)
@click.option("--seed", type=click.IntRange(0, 2**31 - 1), help="A random one by default.")
@click.option(
    "--rung",
    "names",
    type=click.Choice(NAMES),
    multiple=True,
    help="Only this one, which then has all of the time; may be given more than once.",
)
@click.option(
    "--json", "json_file", type=click.File("w"), metavar="FILE", help="Write the outcomes as JSON."
)
def main(
    seconds: float, seed: int | None, names: tuple[str, ...], json_file: IO[str] | None
) -> None:
    """Fuzz what speaks the protocol, rung by rung; end with status 1 when something is found.

    What is found is printed frame by frame, and kept in fuzz/corpus/, which every rung replays
    before anything else.
    """
    seed = random.SystemRandom().randrange(2**31) if seed is None else seed
    rungs = [rung for rung in LADDER if not names or rung.name in names]
    shares = sum(rung.share for rung in rungs) or 1.0
    outcomes = []
    for rung in rungs:
        click.echo(f"{rung.name}: {rung.title} …", err=True)
        outcomes.append(climb_apart(rung, seconds * rung.share / shares, seed))
    coverage = _coverage()
    _show(outcomes, coverage)
    if json_file:
        report = {
            "seed": seed,
            "corpus": len(corpus()),
            "coverage": coverage,
            "rungs": [asdict(outcome) for outcome in outcomes],
        }
        json.dump(report, json_file, indent=2)
        json_file.write("\n")
    for outcome in outcomes:
        for finding in outcome.findings:
            click.echo(f"\n{outcome.rung} found: {finding}")
    sys.exit(any(outcome.findings for outcome in outcomes))


def _coverage() -> str:
    with tempfile.TemporaryDirectory() as folder:
        try:
            return str(Meter(Path(folder)).measure(corpus()))
        except (FileNotFoundError, subprocess.CalledProcessError) as error:
            return f"what is not known: {error}"


def _show(outcomes: list[Outcome], coverage: str) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title="What the rungs did", title_justify="left")
    table.add_column("rung")
    for name in ("executions", "frames", "a second", "seconds", "seed", "findings"):
        table.add_column(name, justify="right")
    table.add_column("notes")
    titles = {rung.name: rung.title for rung in LADDER}
    for outcome in outcomes:
        table.add_row(
            f"{outcome.rung} {titles[outcome.rung]}",
            f"{outcome.executions:,}",
            f"{outcome.frames:,}" if outcome.frames else "",
            f"{outcome.frames / outcome.seconds:,.0f}" if outcome.frames else "",
            f"{outcome.seconds:.0f}",
            str(outcome.seed),
            str(len(outcome.findings)),
            outcome.notes,
        )
    Console(width=None if sys.stdout.isatty() else 120).print(table)
    click.echo(f"corpus: {len(corpus())} files; of the decoders in C they reach {coverage}")


if __name__ == "__main__":
    main(prog_name="python -m fuzz")

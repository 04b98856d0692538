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

from .decoder.build import measure
from .ladder import LADDER, climb
from .outcome import Outcome
from .report import corpus


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
    type=click.Choice([rung.name for rung in LADDER]),
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
    outcomes: dict[str, Outcome] = {}
    for rung in rungs:
        click.echo(f"{rung.name}: {rung.title} …", err=True)
        outcomes[rung.name] = climb(rung, seconds * rung.share / shares, seed)
    coverage = _coverage()
    _show(outcomes, seed)
    click.echo(f"corpus: {len(corpus())} files; of the decoders in C they reach {coverage}")
    if json_file:
        report = {
            "seed": seed,
            "corpus": len(corpus()),
            "coverage": coverage,
            "rungs": {name: asdict(outcome) for name, outcome in outcomes.items()},
        }
        json.dump(report, json_file, indent=2)
    for name, outcome in outcomes.items():
        for finding in outcome.findings:
            click.echo(f"\n{name} found: {finding}")
    sys.exit(any(outcome.findings for outcome in outcomes.values()))


def _coverage() -> str:
    with tempfile.TemporaryDirectory() as folder:
        try:
            return str(measure(Path(folder), corpus()))
        except (FileNotFoundError, subprocess.CalledProcessError) as error:
            return f"what is not known: {error}"


def _show(outcomes: dict[str, Outcome], seed: int) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"What the rungs did, with the seed {seed}", title_justify="left")
    table.add_column("rung")
    for name in ("executions", "frames", "a second", "seconds", "findings"):
        table.add_column(name, justify="right")
    table.add_column("notes")
    for name, outcome in outcomes.items():
        table.add_row(
            name,
            f"{outcome.executions:,}",
            f"{outcome.frames:,}" if outcome.frames else "",
            f"{outcome.frames / outcome.seconds:,.0f}" if outcome.frames else "",
            f"{outcome.seconds:.0f}",
            str(len(outcome.findings)),
            outcome.notes,
        )
    Console(width=None if sys.stdout.isatty() else 120).print(table)


if __name__ == "__main__":
    main(prog_name="python -m fuzz")

"""`make fuzz`: climb the ladder, and show what came of it."""

from __future__ import annotations

import json
import random
import sys
from dataclasses import asdict
from typing import IO

import click

from .ladder import LADDER, climb


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
    click.echo(f"the seed is {seed}")
    rungs = [rung for rung in LADDER if not names or rung.name in names]
    shares = sum(rung.share for rung in rungs) or 1.0
    outcomes = {}
    for rung in rungs:
        click.echo(f"{rung.name}: {rung.title} …", err=True)
        outcomes[rung.name] = outcome = climb(rung, seconds * rung.share / shares, seed)
        click.echo(f"{rung.name}: {outcome}")
    if json_file:
        done = {name: asdict(outcome) for name, outcome in outcomes.items()}
        json.dump({"seed": seed, "rungs": done}, json_file, indent=2)
    sys.exit(any(outcome.findings for outcome in outcomes.values()))


if __name__ == "__main__":
    main(prog_name="python -m fuzz")

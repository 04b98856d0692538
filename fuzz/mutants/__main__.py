"""`make fuzz-mutants`: build each seeded bug, let the rungs look for it, and show who found it."""

from __future__ import annotations

import concurrent.futures
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Collection
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

import click
from fuzz.ladder import LADDER, UNBUILT
from fuzz.mutants import RUNGS, Mutant, mutants

ROOT = Path(__file__).resolve().parents[2]
COPIED = ("codegen", "fuzz", "guest", "host", "image", "protocol", "tests", "pyproject.toml")
WORKERS = 2
NAMES = tuple(rung.name for rung in LADDER)
CONTROL = Mutant(
    "nothing is wrong: nobody may find this",
    "control",
    "guest/session.h",
    "\n#ifndef SESSION_H\n",
    "\n#ifndef SESSION_H /* as it was */\n",
    NAMES,
)
COMPILE = 600.0
"""Seconds that a rung may take beyond its time, before that counts as a find."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """The rungs that looked for a bug, and what those say that found it."""

    mutant: Mutant
    looked: tuple[str, ...]
    found: dict[str, str]


def hunt(mutant: Mutant, rungs: Collection[str], seconds: float) -> Verdict:
    """Build a bug in a copy of the tree, and let those rungs look for it that have to do with it."""
    looked = tuple(rung for rung in mutant.rungs if rung in rungs)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        tree = Path(folder)
        tree.chmod(0o755)
        for name in COPIED:
            copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copyfile
            copy(ROOT / name, tree / name)
        mutant.seed(tree)
        found = {rung: _look(rung, tree, mutant, seconds) for rung in looked}
    return Verdict(mutant, looked, {rung: what for rung, what in found.items() if what})


def _look(rung: str, tree: Path, mutant: Mutant, seconds: float) -> str:
    """Return what a rung of this tree finds, or that it does not come to its end.

    :raises ClickException: it could not be built; such a bug is none.
    """
    command = [sys.executable, "-m", "fuzz.ladder", rung, str(seconds), "1"]
    if rung == "proofs" and mutant is not CONTROL:
        command = [sys.executable, "-m", "fuzz.proofs.prove", mutant.kind]
    paths = [str(tree / name) for name in ("host", "codegen", "image")]
    try:
        ran = subprocess.run(
            command,
            cwd=tree,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
            capture_output=True,
            check=False,
            timeout=None if rung == "proofs" else seconds + COMPILE,  # each has its own
        )
    except subprocess.TimeoutExpired:
        return "it does not come to its end"
    said = (ran.stdout + ran.stderr).decode(errors="replace")
    if ran.returncode == UNBUILT:
        raise click.ClickException(f"{mutant.name}: {said}")
    if rung == "proofs" and mutant is not CONTROL:
        return said if ran.returncode == 1 else ""  # else there is no verdict
    if ran.returncode:
        return said
    return "\n".join(json.loads(ran.stdout.splitlines()[-1])["findings"])


@click.command()
@click.option(
    "--seconds", type=click.FloatRange(1), default=10.0, show_default=True, help="For each rung."
)
@click.option("--only", metavar="TEXT", default="", help="Bugs whose name or file has this.")
@click.option(
    "--rung",
    "names",
    type=click.Choice(NAMES),
    multiple=True,
    default=NAMES,
    help="Only this one looks; may be given more than once.",
)
@click.option(
    "--json", "json_file", type=click.File("w"), metavar="FILE", help="Write who found what."
)
def main(seconds: float, only: str, names: tuple[str, ...], json_file: IO[str] | None) -> None:
    """Show how many of the seeded bugs each rung finds; end with status 1 below 95 %."""
    chosen = [
        mutant
        for mutant in (CONTROL, *(mutant for patch in RUNGS for mutant in mutants(patch)))
        if only in mutant.name or only in mutant.file
        if set(mutant.rungs) & set(names)
    ]
    verdicts = []
    with concurrent.futures.ThreadPoolExecutor(WORKERS) as pool:
        for verdict in pool.map(lambda mutant: hunt(mutant, names, seconds), chosen):
            verdicts.append(verdict)
            missed = set(verdict.looked) - set(verdict.found)
            click.echo(
                f"{verdict.mutant.file}: {verdict.mutant.name}: found by"
                f" {', '.join(verdict.found) or 'nobody'}, not by {', '.join(sorted(missed)) or 'none'}"
            )
    if json_file:
        json.dump([asdict(verdict) for verdict in verdicts], json_file, indent=2)
    sys.exit(_summary(verdicts))


def _summary(verdicts: list[Verdict]) -> bool:
    """Print what each rung has found, and who was not found; return whether that is too little."""
    false = next((each.found for each in verdicts if each.mutant is CONTROL), {})
    for rung, what in false.items():
        click.echo(
            f"{rung} finds something where nothing is wrong, so the rest says nothing: {what}"
        )
    verdicts = [each for each in verdicts if each.mutant is not CONTROL]
    for rung in NAMES:
        looked = [each for each in verdicts if rung in each.looked]
        if looked:
            found = sum(rung in each.found for each in looked)
            click.echo(f"{rung} finds {found} of {len(looked)}")
    lost = [each.mutant for each in verdicts if not each.found]
    click.echo(f"{len(verdicts) - len(lost)} of {len(verdicts)} are found")
    for mutant in lost:
        click.echo(f"not found: {mutant.name} ({mutant.kind}, {mutant.file})")
    crashes = any(mutant.kind == "crash" for mutant in lost)
    return bool(false) or crashes or len(lost) > len(verdicts) // 20


if __name__ == "__main__":
    main(prog_name="python -m fuzz.mutants")

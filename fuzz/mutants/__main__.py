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
from pathlib import Path

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


def hunt(mutant: Mutant, rungs: Collection[str], seconds: float) -> dict[str, str]:
    """Build a bug in a copy of the tree, and let those rungs look for it that have to do with it.

    Return what each says that it found; nothing when it found nothing.
    """
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        tree = Path(folder)
        tree.chmod(0o755)
        for name in COPIED:
            copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copyfile
            copy(ROOT / name, tree / name)
        mutant.seed(tree)
        looking = [rung for rung in mutant.rungs if rung in rungs]
        return {rung: _look(rung, tree, mutant, seconds) for rung in looking}


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
def main(seconds: float, only: str, names: tuple[str, ...]) -> None:
    """Show how many of the seeded bugs each rung finds; end with status 1 below 95 %."""
    chosen = [
        mutant
        for mutant in (CONTROL, *(mutant for patch in RUNGS for mutant in mutants(patch)))
        if only in mutant.name or only in mutant.file
        if set(mutant.rungs) & set(names)
    ]
    verdicts = {}
    with concurrent.futures.ThreadPoolExecutor(WORKERS) as pool:
        found = pool.map(lambda mutant: hunt(mutant, names, seconds), chosen)
        for mutant, verdict in zip(chosen, found, strict=True):
            verdicts[mutant] = verdict
            who = ", ".join(rung for rung, what in verdict.items() if what) or "nobody"
            missed = ", ".join(rung for rung, what in verdict.items() if not what) or "none"
            click.echo(f"{mutant.file}: {mutant.name}: found by {who}, not by {missed}")
    sys.exit(_summary(verdicts))


def _summary(verdicts: dict[Mutant, dict[str, str]]) -> bool:
    """Print what each rung has found, and who was not found; return whether that is too little."""
    false = {rung: what for rung, what in verdicts.pop(CONTROL, {}).items() if what}
    for rung, what in false.items():
        click.echo(
            f"{rung} finds something where nothing is wrong, so the rest says nothing: {what}"
        )
    for rung in NAMES:
        if looked := [found[rung] for found in verdicts.values() if rung in found]:
            click.echo(f"{rung} finds {sum(map(bool, looked))} of {len(looked)}")
    lost = [mutant for mutant, found in verdicts.items() if not any(found.values())]
    click.echo(f"{len(verdicts) - len(lost)} of {len(verdicts)} are found")
    for mutant in lost:
        click.echo(f"not found: {mutant.name} ({mutant.kind}, {mutant.file})")
    crashes = any(mutant.kind == "crash" for mutant in lost)
    return bool(false) or crashes or len(lost) > len(verdicts) // 20


if __name__ == "__main__":
    main(prog_name="python -m fuzz.mutants")

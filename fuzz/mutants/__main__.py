"""`make fuzz-mutants`: build each seeded bug, let the rungs look for it, and show who found it."""

from __future__ import annotations

import concurrent.futures
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import click
from fuzz.ladder import LADDER, UNBUILT
from fuzz.mutants import Mutant, daemon, decoder, host, proofs, python

ROOT = Path(__file__).resolve().parents[2]
COPIED = ("codegen", "fuzz", "guest", "host", "image", "protocol", "tests", "pyproject.toml")
WORKERS = 2
CONTROL = Mutant(
    "nothing is wrong: nobody may find this",
    "guest/session.h",
    "#ifndef SESSION_H\n",
    "#ifndef SESSION_H /* as it was */\n",
    "control",
)
COMPILE = 600.0
"""Seconds that a rung may take beyond its time, before that counts as a find."""


@dataclass(frozen=True, slots=True)
class Hunt:
    """A mutant, and the rungs that look for it."""

    mutant: Mutant
    rungs: str


@dataclass(frozen=True, slots=True)
class Result:
    """Which rungs found a mutant, and how long each took."""

    hunt: Hunt
    found: tuple[str, ...]
    seconds: float


def hunts() -> Iterator[Hunt]:
    """Yield every mutant, with the rungs that its file has to do with."""
    for mutants, rungs in (
        ((CONTROL,), "ABCDEF"),
        (decoder.MUTANTS, "ABC"),
        (python.MUTANTS, "BE"),
        (daemon.MUTANTS, "C"),
        (daemon.GUEST_MUTANTS, "D"),
        (host.MUTANTS, "E"),
        (proofs.MUTANTS, "F"),
    ):
        for mutant in mutants:
            yield Hunt(mutant, rungs)


def hunt(what: Hunt, seconds: float) -> Result:
    """Build a mutant in a copy of the tree, and let its rungs look for it."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        tree = Path(folder)
        tree.chmod(0o755)
        for name in COPIED:
            copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copyfile
            copy(ROOT / name, tree / name)
        seed(tree, what.mutant)
        found = [rung for rung in what.rungs if is_found(tree, rung, seconds)]
    return Result(what, tuple(found), time.monotonic() - began)


def seed(tree: Path, mutant: Mutant) -> None:
    """Write the bug into a tree.

    :raises ValueError: the text to replace is not there once.
    """
    path = tree / mutant.file
    text = path.read_text()
    if text.count(mutant.old) != 1 or mutant.old == mutant.new:
        raise ValueError(f"{mutant.name}: {mutant.file} has {text.count(mutant.old)} such places")
    path.write_text(text.replace(mutant.old, mutant.new))


def is_found(tree: Path, rung: str, seconds: float) -> bool:
    """Whether a rung of this tree finds something, or does not come to its end.

    :raises ClickException: it could not be built; such a bug is none.
    """
    paths = [str(tree / name) for name in ("host", "codegen", "image")]
    command = [sys.executable, "-m", "fuzz.ladder", rung, str(seconds), "1"]
    try:
        ran = subprocess.run(
            command,
            cwd=tree,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
            capture_output=True,
            check=False,
            timeout=seconds + COMPILE,
        )
    except subprocess.TimeoutExpired:
        return True
    if ran.returncode == UNBUILT:
        raise click.ClickException(ran.stderr.decode(errors="replace"))
    return bool(ran.returncode) or bool(json.loads(ran.stdout.splitlines()[-1])["findings"])


@click.command()
@click.option(
    "--seconds", type=click.FloatRange(1), default=10.0, show_default=True, help="For each rung."
)
@click.option("--only", metavar="TEXT", default="", help="Mutants whose name or file has this.")
@click.option(
    "--rung",
    "names",
    type=click.Choice([rung.name for rung in LADDER]),
    multiple=True,
    help="Only this one looks; may be given more than once.",
)
@click.option(
    "--json",
    "json_file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write who found what.",
)
def main(seconds: float, only: str, names: tuple[str, ...], json_file: Path | None) -> None:
    """Show how many of the seeded bugs each rung finds; end with status 1 below 95 %."""
    chosen = [
        Hunt(each.mutant, "".join(rung for rung in each.rungs if not names or rung in names))
        for each in hunts()
        if only in each.mutant.name or only in each.mutant.file
    ]
    chosen = [each for each in chosen if each.rungs]
    results = []
    with concurrent.futures.ThreadPoolExecutor(WORKERS) as pool:
        for result in pool.map(lambda each: hunt(each, seconds), chosen):
            results.append(result)
            mark = "".join(r if r in result.found else "-" for r in result.hunt.rungs)
            click.echo(f"{mark:4} {result.seconds:4.0f} s  {result.hunt.mutant.name}")
    if json_file:
        json_file.write_text(json.dumps([_record(result) for result in results], indent=2) + "\n")
    sys.exit(_summary(results))


def _record(result: Result) -> dict[str, object]:
    mutant = result.hunt.mutant
    return {
        "name": mutant.name,
        "file": mutant.file,
        "kind": mutant.kind,
        "rungs": result.hunt.rungs,
        "found": "".join(result.found),
        "seconds": round(result.seconds, 1),
    }


def _summary(results: Sequence[Result]) -> bool:
    """Print what each rung has found, and who was not found; return whether that is too little."""
    controls = [result for result in results if result.hunt.mutant is CONTROL]
    results = [result for result in results if result.hunt.mutant is not CONTROL]
    false = [rung for result in controls for rung in result.found]
    if false:
        click.echo(f"found where nothing is wrong, by {', '.join(false)}: the rest says nothing")
    for rung in "ABCDEF":
        looked = [result for result in results if rung in result.hunt.rungs]
        if looked:
            found = sum(rung in result.found for result in looked)
            click.echo(f"{rung} finds {found} of {len(looked)}")
    lost = [result.hunt.mutant for result in results if not result.found]
    click.echo(f"{len(results) - len(lost)} of {len(results)} are found")
    for mutant in lost:
        click.echo(f"not found: {mutant.name} ({mutant.kind}, {mutant.file})")
    crashes = any(mutant.kind == "crash" for mutant in lost)
    return bool(false) or crashes or len(lost) > len(results) // 20


if __name__ == "__main__":
    main(prog_name="python -m fuzz.mutants")

"""`make fuzz-mutants`: build each seeded bug, and show which rungs find it."""

from __future__ import annotations

import ctypes
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from subprocess import STDOUT

import click
from fuzz.mutants import FINDERS, RUNGS, Mutant, mutants
from fuzz.mutants.finders import finder
from tests.support import signals
from tests.support.processes import adopting, children

ROOT = Path(__file__).resolve().parents[2]
WORKERS = 2
SCHEMA = "protocol/sandboxd.toml"
VECTORS = "protocol/vectors.json"
BEYOND = 600.0  # maximum number of seconds that a rung may take to compile and to reduce a failure
_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def end_with_parent() -> None:
    """Kill this process and all of its descendants when its parent exits."""
    signals.restore()
    signal.signal(signal.SIGTERM, end)
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def end(*_: object) -> None:
    """Kill all descendants of this process, and exit."""
    end_children()
    os._exit(1)


def end_children() -> None:
    """Kill all descendants of this process, in any session."""
    while left := children(os.getpid()):
        for pid in left:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


def run(command: Sequence[str | Path], tree: Path, seconds: float | None) -> tuple[int | None, str]:
    """Run a command, and kill all processes that it leaves behind, in any session.

    :return: The exit status, or None after a time-out; and the output.
    """
    paths = os.pathsep.join(str(tree / name) for name in ("host", "codegen", "image"))
    environment = {**os.environ, "PYTHONPATH": paths, "COLUMNS": "160"}
    path = tree / "out"  # remaining processes would keep a pipe open
    with adopting(), path.open("wb") as out:
        process = subprocess.Popen(command, cwd=tree, env=environment, stdout=out, stderr=STDOUT)
        try:
            status = process.wait(seconds)
        except subprocess.TimeoutExpired:
            status = None
        finally:
            end_children()
            process.poll()
    return status, path.read_text(errors="replace")


def look(mutant: Mutant, rung: str, seconds: float) -> tuple[bool | None, str, float]:
    """Let a rung search for a bug in a copy of the tree.

    :return: True if it finds a failure, or None without a verdict; the last words of its output;
        and the number of seconds.
    """
    began = time.monotonic()
    command = [sys.executable, "-m", "pytest", f"fuzz/{rung}", "-x", "-m", "rung and not long"]
    command += [f"--fuzz-seconds={seconds}", "--hypothesis-seed=1"]
    if rung in FINDERS:
        command = finder(rung, mutant).command()
    if rung == "proofs":
        command[2:] = ["fuzz.proofs.prove", *filter(None, [mutant.proof])]
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        tree = Path(folder)
        made = shutil.ignore_patterns(".*", "build", "dist")
        shutil.copytree(ROOT, tree, ignore=made, dirs_exist_ok=True)
        tree.chmod(0o755)  # QEMU runs as another user
        mutant.seed(tree)
        status, said = generate(tree) if mutant.file == SCHEMA else (0, "")
        if status == 0:
            status, said = run(command, tree, None if rung == "proofs" else seconds + BEYOND)
    failed = r"^(FAILED \w+/|.* FAILED +[1-9]).*"
    if rung in FINDERS:
        # The model judges the recordings of a module after its tests.
        failed = r"^(FAILED|ERROR) \w+/.*"
    found = re.search(failed, said, re.M) if status == 1 else None
    if rung in FINDERS and not finder(rung, mutant).has_found(said):
        found = None
    words = found[0] if found else "" if status == 0 else said.strip()[-200:]
    return (False if status == 0 else bool(found) or None), words, time.monotonic() - began


def generate(tree: Path) -> tuple[int | None, str]:
    """Generate the files of the protocol again, except the vectors; return what `run` returns."""
    vectors = (tree / VECTORS).read_bytes()
    generator = Path(sys.executable).with_name("microvm-proto")
    ran = run([generator, "gen", SCHEMA], tree, BEYOND)
    (tree / VECTORS).write_bytes(vectors)
    return ran


@click.command()
@click.option(
    "--seconds",
    type=click.FloatRange(1),
    default=10.0,
    show_default=True,
    help="Time for each rung.",
)
@click.option(
    "--only", metavar="TEXT", default="", help="Only seed bugs whose name or file contains TEXT."
)
@click.option(
    "--rung",
    "names",
    type=click.Choice((*RUNGS["control"], *FINDERS)),
    multiple=True,
    default=(*RUNGS["control"], *FINDERS),
    help="Run only this rung or finder. Can be repeated.",
)
def main(seconds: float, only: str, names: tuple[str, ...]) -> None:
    """Show how many of the seeded bugs each rung finds.

    The exit status is 1 if the rungs find less than 95 % of the bugs, or do not find a bug of the
    kind "crash", or if a rung fails without a bug.
    """
    chosen = [each for each in mutants() if only in each.name or only in each.file]
    needed = {rung for each in chosen if each.kind != "control" for rung in each.rungs} & {*names}
    chosen = [each for each in mutants() if each in chosen or each.kind == "control"]
    tasks = [(each, rung) for each in chosen for rung in each.rungs if rung in needed]
    if not tasks:
        raise click.UsageError("none of these rungs searches for such a bug")
    verdicts: dict[Mutant, dict[str, bool | None]] = {}
    with ProcessPoolExecutor(WORKERS, initializer=end_with_parent) as pool:
        looks = [pool.submit(look, mutant, rung, seconds) for mutant, rung in tasks]
        for (mutant, rung), looked in zip(tasks, looks, strict=True):
            found, words, took = looked.result()
            verdicts.setdefault(mutant, {})[rung] = found
            does = {True: "finds", False: "does not find", None: "gives no verdict on"}[found]
            click.echo(f"{took:5.0f} s  {rung} {does} {mutant.file}: {mutant.name}  {words}")
    sys.exit(_summary(verdicts))


def _summary(verdicts: dict[Mutant, dict[str, bool | None]]) -> bool:
    """Print a table of the rungs, and the bugs that were not found; return whether this fails."""
    [(_, controls), *bugs] = verdicts.items()
    click.echo("\n| rung | bugs found of those looked for |\n|---|---|")
    for rung, wrong in controls.items():
        looked = [found[rung] for _, found in bugs if rung in found]
        silent = f", {looked.count(None)} without a verdict" if None in looked else ""
        click.echo(f"| {rung} | {looked.count(True)} of {len(looked)}{silent} |")
        if wrong is not False:
            click.echo(f"{rung} fails without a bug, so its other failures mean nothing")
    lost = [mutant for mutant, found in bugs if not any(found.values())]
    click.echo(f"\n{len(bugs) - len(lost)} of {len(bugs)} are found")
    for mutant in lost:
        click.echo(f"not found: {mutant.name} ({mutant.kind}, {mutant.file})")
    crashes = any(mutant.kind == "crash" for mutant in lost)
    clean = all(found is False for found in controls.values())
    return not clean or crashes or len(lost) > len(bugs) // 20


if __name__ == "__main__":
    main(prog_name="python -m fuzz.mutants")

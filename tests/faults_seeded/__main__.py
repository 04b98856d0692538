"""Seed each fault into a copy of the project, and show which test finds it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Collection
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import click
from fuzz.mutants.__main__ import SCHEMA, end_with_parent, generate, run
from tests.faults_seeded import SeededFault, seeded
from tests.support import checkout_cache

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 600.0  # maximum number of seconds for one test
NEEDED = {"test": 0.9, "check": 1.0}  # share of the faults that each selection of tests must find
MARKS = {"test": "not thorough and not long and not alone", "check": "not long"}
FAILED = re.compile(r"^(?:FAILED|ERROR) (\w+/\S+)", re.MULTILINE)
NOT_COMPILED = re.compile(r"\.[ch]:\d+:\d+: (?:fatal )?error: ")


def copy(target: Path) -> None:
    """Copy the files of the project that git tracks or does not ignore."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    for name in filter(None, listed.stdout.split("\0")):
        source, path = ROOT / name, target / name
        if source.is_symlink() or source.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, path, follow_symlinks=False)
    target.chmod(0o755)  # QEMU runs as another user


def failures(tree: Path, test: str, marks: str) -> set[str]:
    """Run a test, and return the failed cases.

    The result is empty if the tests cannot be collected or a C program cannot be compiled.
    """
    command = [sys.executable, "-m", "pytest", test, "-x", "-q", "-m", marks]
    status, said = run([*command, "-p", "no:cacheprovider"], tree, SECONDS)
    return {*FAILED.findall(said)} if status == 1 and not NOT_COMPILED.search(said) else set()


def look(fault: SeededFault | None, tests: Collection[str], marks: str) -> tuple[set[str], float]:
    """Run tests in a copy of the project until one fails; without a fault, run all of them.

    :return: The failed cases, and the number of seconds.
    """
    began = time.monotonic()
    failed: set[str] = set()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        tree = Path(folder)
        copy(tree)
        if fault is not None:
            fault.seed(tree)
            if fault.file == SCHEMA:
                generate(tree)
        for test in tests:
            failed |= failures(tree, test, marks)
            if failed and fault is not None:
                break
    return failed, time.monotonic() - began


def pool(workers: int) -> ProcessPoolExecutor:
    """Return a pool whose processes use the cache of this checkout."""
    os.environ.setdefault("MICROVM_TEST_CACHE", str(checkout_cache.CHECKOUT))
    return ProcessPoolExecutor(workers, initializer=end_with_parent)


@click.command()
@click.option("--only", metavar="TEXT", default="", help="Seed only faults that contain TEXT.")
@click.option(
    "--tests",
    "selection",
    type=click.Choice([*NEEDED]),
    default="check",
    show_default=True,
    help="Run the tests of this command: make test, or make check.",
)
@click.option("-j", "workers", type=click.IntRange(1), default=2, help="Faults at once.")
def main(only: str, selection: str, workers: int) -> None:
    """Seed each fault into a copy of the project, and show which test finds it.

    TEXT is looked for in the fault's name, its file and the name of its patch. The exit status is 1
    if the tests of `make check` do not find all faults, or those of `make test` less than 90 %.
    """
    faults = [each for each in seeded() if only in f"{each.patch} {each.file} {each.name}"]
    if not faults:
        raise click.UsageError("no fault contains this text")
    marks, found = MARKS[selection], 0
    tests = sorted({test for fault in faults for test in fault.tests})
    with pool(workers) as processes:
        clean = [processes.submit(look, None, [test], marks) for test in tests]
        looks = [processes.submit(look, each, each.tests, marks) for each in faults]
        wrong = set().union(*(each.result()[0] for each in clean))
        for test in sorted(wrong):
            click.echo(f"fails without a fault, so it finds none: {test}")
        for fault, looked in zip(faults, looks, strict=True):
            failed, seconds = looked.result()
            by = sorted(failed - wrong)
            found += bool(by)
            verdict = f"found by {by[0]}" if by else "missed"
            click.echo(f"{seconds:5.0f} s  {fault.file}: {fault.name}: {verdict}")
    click.echo(f"\n{found} of {len(faults)} are found by the tests of make {selection}")
    sys.exit(found < NEEDED[selection] * len(faults))


if __name__ == "__main__":
    main(prog_name="python -m tests.faults_seeded")

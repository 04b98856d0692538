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
FAILED = re.compile(r"^(?:FAILED|ERROR) (\w+/.+?)(?: - .*)?$", re.MULTILINE)
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


def failures(tree: Path, tests: Collection[str], marks: str, *options: str) -> set[str]:
    """Run tests, and return the failed cases.

    The result is empty if the tests cannot be collected or a C program cannot be compiled.
    """
    command = [sys.executable, "-m", "pytest", *tests, "-q", "-m", marks, *options]
    # Other runs of pytest remove older folders of the default location.
    command += [f"--basetemp={tree / 'temporary'}", "-p", "no:cacheprovider"]
    status, said = run(command, tree, SECONDS)
    return {*FAILED.findall(said)} if status == 1 and not NOT_COMPILED.search(said) else set()


def look(fault: SeededFault, marks: str) -> tuple[str, set[str], float]:
    """Run the tests of a fault in a copy of the project, one after the other, until one fails.

    :return: The test that failed, or an empty string; its failed cases; and the number of seconds.
    """
    began = time.monotonic()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        tree = Path(folder)
        copy(tree)
        fault.seed(tree)
        if fault.file == SCHEMA:
            generate(tree)
        for test in fault.tests:
            if failed := failures(tree, [test], marks, "-x"):
                return test, failed, time.monotonic() - began
    return "", set(), time.monotonic() - began


def clean(tests: Collection[str], marks: str) -> set[str]:
    """Run tests in a copy of the project without a fault, and return the failed cases."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        tree = Path(folder)
        copy(tree)
        return failures(tree, tests, marks)


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
    marks = MARKS[selection]
    finders: dict[str, set[str]] = {}
    found: list[set[str]] = []
    with pool(workers) as processes:
        looks = [processes.submit(look, each, marks) for each in faults]
        for fault, looked in zip(faults, looks, strict=True):
            test, failed, seconds = looked.result()
            verdict = f"found by {min(failed)}" if failed else "missed"
            click.echo(f"{seconds:5.0f} s  {fault.file}: {fault.name}: {verdict}")
            if failed:
                finders.setdefault(test.split("::")[0], set()).add(test)
                found.append(failed)
        runs = [processes.submit(clean, sorted(tests), marks) for tests in finders.values()]
        wrong = set().union(*(each.result() for each in runs))
    for case in sorted(wrong):
        click.echo(f"fails without a fault, so it finds none: {case}")
    number = sum(bool(failed - wrong) for failed in found)
    click.echo(f"\n{number} of {len(faults)} are found by the tests of make {selection}")
    sys.exit(number < NEEDED[selection] * len(faults))


if __name__ == "__main__":
    main(prog_name="python -m tests.faults_seeded")

"""Benchmark of a suite of 200 small tests: with a machine for each test, and without machines.

python -m tests.suite [ROUNDS]

pytest-xdist runs both suites with two workers. Each test reads a prepared file, changes it, and
checks the change in a shell. Without machines, each test has a folder of its own.
"""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from resource import RUSAGE_CHILDREN, getrusage
from statistics import median
from tempfile import TemporaryDirectory

COUNT = 200

SUITE = f"""
import pytest

@pytest.mark.parametrize("n", range({COUNT}))
def test_it(run, n):
    assert run("cat data") == "prepared\\n"
    assert run(f"echo {{n}} >>data; wc -l <data").strip() == "2"
    assert run("rm data; ls | wc -l").strip() == "0"
"""

WITH = """
import pytest

@pytest.fixture(scope="session")
def microvm_setup():
    return lambda vm: vm.run(["sh", "-c", "mkdir /srv/it; echo prepared >/srv/it/data"], check=True)

@pytest.fixture
def run(microvm):
    return lambda line: microvm.run(["sh", "-c", line], cwd="/srv/it", check=True, text=True).stdout
"""

WITHOUT = """
import subprocess
import pytest

@pytest.fixture
def run(tmp_path):
    (tmp_path / "data").write_text("prepared\\n")
    return lambda line: subprocess.run(
        ["sh", "-c", line], cwd=tmp_path, check=True, text=True, capture_output=True
    ).stdout
"""


@dataclass(frozen=True, slots=True)
class Taken:
    """Duration of a run of the suite: seconds of wall-clock time, and CPU time of all processes."""

    clock: float
    cpu: float


def measure(conftest: str) -> Taken:
    """Run the suite, check that it passes, and return its duration."""
    with TemporaryDirectory() as folder:
        Path(folder, "conftest.py").write_text(conftest)
        Path(folder, "test_suite.py").write_text(SUITE)
        own = "-q -n2 -p no:cacheprovider -p no:asyncio -p no:hypothesispytest"
        command = [sys.executable, "-m", "pytest", *own.split()]
        begun, spent = time.monotonic(), _cpu()
        done = subprocess.run(command, cwd=folder, check=False, text=True, capture_output=True)
        taken = Taken(time.monotonic() - begun, _cpu() - spent)
    if f"{COUNT} passed" not in done.stdout:
        sys.exit(done.stdout + done.stderr)
    return taken


def _cpu() -> float:
    """Return the CPU time of all child processes that have exited and were waited for."""
    usage = getrusage(RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def main() -> None:
    """Run both suites, and print the medians."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    measure(WITH)  # builds the image and the template if they do not exist
    for name, conftest in [("without machines", WITHOUT), ("in machines", WITH)]:
        taken = [measure(conftest) for _ in range(rounds)]
        clock, cpu = median(each.clock for each in taken), median(each.cpu for each in taken)
        print(f"{COUNT} tests {name}: {clock:.1f} s, {cpu:.1f} s of CPU time", flush=True)


if __name__ == "__main__":
    main()

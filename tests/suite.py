"""A suite of 200 small tests, each in a machine of its own, beside the same one without machines.

python -m tests.suite [ROUNDS]

Both are run by pytest-xdist with two workers, in turn. Each test reads what was set up, changes it,
and looks at what came of that, by a shell; without machines in a folder of its own.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
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


def seconds(conftest: str) -> float:
    """Run the suite, and return how long it took."""
    with TemporaryDirectory() as folder:
        Path(folder, "conftest.py").write_text(conftest)
        Path(folder, "test_suite.py").write_text(SUITE)
        own = (
            "-q",
            "-n2",
            "-p",
            "no:cacheprovider",
            "-p",
            "no:asyncio",
            "-p",
            "no:hypothesispytest",
        )
        begun = time.monotonic()
        done = subprocess.run(
            [sys.executable, "-m", "pytest", *own],
            cwd=folder,
            check=False,
            text=True,
            capture_output=True,
        )
        taken = time.monotonic() - begun
    if f"{COUNT} passed" not in done.stdout:
        sys.exit(done.stdout + done.stderr)
    return taken


def main() -> None:
    """Run both in turn, and print medians."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    seconds(WITH)  # an image and a template, where there are none
    taken = [(seconds(WITHOUT), seconds(WITH)) for _ in range(rounds)]
    without, within = (median(column) for column in zip(*taken, strict=True))
    print(
        f"{COUNT} tests, -n 2, medians of {rounds}: "
        f"{within:.1f} s, without machines {without:.1f} s"
    )
    print(f"{2 * (within - without) / COUNT * 1000:.0f} ms more of a worker's time for each test")
    print("each:", ", ".join(f"{b:.1f} ({a:.1f})" for a, b in taken))


if __name__ == "__main__":
    main()

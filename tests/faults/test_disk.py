"""Tests of a disk that fails at each call that writes to the cache: no file is incomplete."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from .disk import OPERATIONS

pytestmark = pytest.mark.thorough

CHEAP = [("template", 12), ("snapshot", 24), ("image", 90), ("load", 3), ("scratch", 3)]


@pytest.mark.parametrize(
    ("operation", "step"),
    [*CHEAP, *(pytest.param(name, 1, marks=pytest.mark.long) for name in OPERATIONS)],
)
def test_disk_failure_at_each_step_is_handled(
    operation: str, step: int, faulty: dict[str, str], tmp_path: Path
) -> None:
    worker = [sys.executable, "-m", "tests.faults.disk", str(tmp_path), operation, str(step)]
    done = subprocess.run(worker, env=faulty, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    faults = re.fullmatch(r"(\d+) faults", done.stdout.splitlines()[-1])
    assert faults is not None
    assert int(faults[1]) >= 6
    print(done.stdout)

"""The tests of the examples are found by pytest in a checkout, as their pages have it called."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.mark.parametrize(("name", "count"), [("postgres", 21), ("pytest", 9)])
def test_the_tests_of_an_example_are_found(name: str, count: int) -> None:
    # The program, since `python -m pytest` puts the working folder into the path.
    program = Path(sys.executable).with_name("pytest")
    done = subprocess.run(
        [program, "--collect-only", "-q", "-p", "no:cacheprovider", "-p", "no:asyncio"],
        cwd=EXAMPLES / name,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"\n{count} tests collected" in done.stdout

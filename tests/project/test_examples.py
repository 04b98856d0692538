"""Tests that pytest finds the tests of the examples in a checkout, as their pages call it."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from tests.support.captured import captured

pytestmark = pytest.mark.thorough

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.mark.parametrize(("name", "count"), [("postgres", 21), ("pytest", 9)])
def test_the_tests_of_an_example_are_found(name: str, count: int) -> None:
    # Run the program, since `python -m pytest` would put the working folder into sys.path.
    program = Path(sys.executable).with_name("pytest")
    done = captured(
        [program, "--collect-only", "-q", "-p", "no:cacheprovider", "-p", "no:asyncio"],
        cwd=EXAMPLES / name,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"\n{count} tests collected" in done.stdout

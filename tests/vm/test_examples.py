"""The examples of checkpoints do what their documents say."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from microvm_image import Image

pytestmark = [pytest.mark.long, pytest.mark.deadline(3000)]

EXAMPLES = Path(__file__).parents[2] / "examples"


def run(*command: str, folder: Path) -> list[str]:
    """Run a command of Python's, and return the lines that it prints."""
    done = subprocess.run(
        [sys.executable, *command], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.splitlines()


def test_ten_forks_of_a_warm_interpreter_give_ten_answers(image: Image) -> None:
    del image
    *answers, _ = run("ask.py", folder=EXAMPLES / "warm_interpreter")
    squares, numbers = zip(*(answer.split() for answer in answers), strict=True)
    assert squares == tuple(str(number**2) for number in range(10))
    assert len(set(numbers)) == 10


def test_each_test_has_the_database_as_it_was(image: Image) -> None:
    del image
    folder = EXAMPLES / "postgres"
    build = ("image", "build", "postgres", "-f", "postgres.toml")
    run("-m", "microvm", *build, folder=folder)
    # As elsewhere, where this project's own settings are not in force; and it leaves nothing here.
    alone = ("-c", "/dev/null", "--rootdir", ".", "-p", "no:cacheprovider")
    lines = run("-B", "-m", "pytest", "-q", *alone, folder=folder)
    assert lines[-1].startswith("21 passed")

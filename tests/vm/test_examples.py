"""Tests of the examples that use machines, and of processes that a clone must reseed."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from microvm import MicroVM

pytestmark = [pytest.mark.long, pytest.mark.deadline(3000)]

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"

# A process that on request draws from both of its random generators, with or without a new seed.
DRAWS = """
os.mkfifo("/run/answers")
os.mkfifo("/run/questions")
refresh(), random.random(), ssl.RAND_bytes(8)
while True:
    with open("/run/questions") as file:
        if file.read() == "anew":
            refresh()
    with open("/run/answers", "w") as file:
        print(random.random(), ssl.RAND_bytes(8).hex(), file=file)
"""
START = "python3 /run/draws.py & until [ -p /run/questions ]; do sleep 0.1; done"
ASK = 'printf %s "$1" >/run/questions; exec cat /run/answers'


def run(*command: str, folder: Path) -> list[str]:
    """Run a Python command, and return the lines of its output."""
    done = subprocess.run(
        [sys.executable, *command], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.splitlines()


def test_ten_forks_of_a_warm_interpreter_give_ten_answers() -> None:
    *answers, _ = run("ask.py", folder=EXAMPLES / "warm_interpreter")
    squares, numbers = zip(*(answer.split() for answer in answers), strict=True)
    assert squares == tuple(str(number**2) for number in range(10))
    assert len(set(numbers)) == 10


def test_each_test_gets_the_original_database() -> None:
    folder = EXAMPLES / "postgres"
    build = ("image", "build", "postgres", "-f", "postgres.toml")
    run("-m", "microvm", *build, folder=folder)
    lines = run("-B", "-m", "pytest", "-q", "-p", "no:cacheprovider", folder=folder)
    assert lines[-1].startswith("21 passed")


def test_package_of_the_example_is_tested_in_machines() -> None:
    alone = ("-p", "no:cacheprovider", "-p", "no:asyncio", "-n2")
    lines = run("-B", "-m", "pytest", "-q", *alone, folder=EXAMPLES / "pytest")
    assert lines[-1].startswith("9 passed")


def test_a_thousand_programs_get_the_expected_grades() -> None:
    verdicts, _ = run("-B", "grade.py", "1000", folder=EXAMPLES / "grade")
    found = {kind: int(number) for number, kind in re.findall(r"(\d+) ([a-z ]+)", verdicts)}
    assert set(found) == {"right", "wrong", "too slow", "too long"}
    assert sum(found.values()) == 1000


@pytest.mark.parametrize(("how", "different"), [("anew", 2), ("as it is", 1)])
async def test_process_reseeds_its_generators_in_each_clone(how: str, different: int) -> None:
    text = (ROOT / "docs/security.md").read_text()
    (hook,) = re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    async with MicroVM("python") as vm:
        await vm.write_file("/run/draws.py", hook + DRAWS)
        await vm.run(["sh", "-c", START], check=True)
        async with await vm.fork(2) as forks:
            asked = [await fork.run(["sh", "-c", ASK, "ask", how], text=True) for fork in forks]
    for drawn in zip(*(done.stdout.split() for done in asked), strict=True):
        assert len(set(drawn)) == different

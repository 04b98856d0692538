"""Tests that the JSON output has the names and types that docs/json.md shows."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator

import pytest
from click.testing import CliRunner
from tests.support.examples import EXAMPLES, check
from tests.support.target import target
from tests.vm.conftest import DEADLINE, Command

from microvm.cli.root import cli
from microvm.images import Image
from microvm.start import snapshots
from microvm_image.kernel import cached

pytestmark = [
    pytest.mark.thorough,
    pytest.mark.usefixtures("copied_cache"),
]  # since commands list all that is in the cache

SNAPSHOT = "of-a-test-of-json"
OF_MACHINES = [each for each in EXAMPLES if each.startswith(("microvm run", "echo"))]
# Test these examples in test_named.py, test_named_pool.py and test_doctor.py.
ELSEWHERE = ["microvm ps --json", "microvm pool ls --json", "microvm doctor --json"]


@pytest.fixture(scope="module")
def names(image: Image) -> Iterator[dict[str, str]]:
    """Replacements of names of the page: the image, and a snapshot of it."""
    command = [sys.executable, "-m", "microvm", "run", "-m", "96M", "--save", SNAPSHOT, "--"]
    subprocess.run([*command, "true"], check=True, timeout=DEADLINE)
    yield {"app": image.name, "ready": SNAPSHOT}
    snapshots.STORE.remove(SNAPSHOT)


@pytest.mark.parametrize(
    "command", [each for each in EXAMPLES if each not in (*OF_MACHINES, *ELSEWHERE)]
)
def test_listings_have_the_documented_names(command: str, names: dict[str, str]) -> None:
    if command.startswith("microvm kernel") and cached.newest(target()) is None:
        pytest.skip("no kernel has been compiled")
    words = [names.get(word, word) for word in shlex.split(command)[1:]]
    found = json.loads(CliRunner().invoke(cli, words).stdout)
    if command == "microvm image ls --json":  # the command also lists images of other versions
        found = [each for each in found if not each["error"]]
    assert found
    check(json.loads(EXAMPLES[command]), found, command)


def test_config_lists_the_documented_options(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("MICROVM_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("MICROVM_NO_CONFIG", "1")
    command = "microvm config --json"
    found = json.loads(CliRunner().invoke(cli, shlex.split(command)[1:]).stdout)
    for each in json.loads(EXAMPLES[command])["options"]:
        assert each in found["options"]


@pytest.mark.usefixtures("names")  # whose start shows the notices of a new cache
def test_a_command_and_a_job_have_the_names_that_are_documented(microvm: Command) -> None:
    run, job = OF_MACHINES
    shown = json.loads(EXAMPLES[run])
    said = microvm("run", *shlex.split(run)[2:])
    found = json.loads(said.stdout)
    check(shown, found, run)
    assert {**found, "seconds": 0, "memory": 0} == {**shown, "seconds": 0, "memory": 0}
    assert (said.returncode, said.stderr) == (3, b"")
    found = json.loads(microvm("map", "-", input=shlex.split(job)[1].encode()).stdout)
    check(json.loads(EXAMPLES[job]), found, job)

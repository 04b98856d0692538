"""Test that runs the steps of action.yml in order, as a runner does, with the built files."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.install.built import ROOT

from microvm._version import __version__

STEPS: list[dict[str, Any]] = yaml.safe_load((ROOT / "action.yml").read_text())["runs"]["steps"]


def lines(path: Path) -> Iterator[tuple[str, str]]:
    """Return the lines that steps wrote for later steps."""
    for line in path.read_text().splitlines():
        name, _, value = line.partition("=")
        yield name, value


@pytest.fixture
def runner(tmp_path: Path, dist: Path) -> dict[str, str]:
    """The environment of the steps. The built files are the index of pip."""
    written = {name: tmp_path / name for name in ("GITHUB_ENV", "GITHUB_OUTPUT", "GITHUB_PATH")}
    for path in written.values():
        path.touch()
    ours = {name: value for name, value in os.environ.items() if not name.startswith("MICROVM_")}
    return {
        **ours,
        **{name: str(path) for name, path in written.items()},
        "GITHUB_ACTION_PATH": str(ROOT),
        "RUNNER_TEMP": str(tmp_path),
        "HOME": str(tmp_path),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": str(dist),
    }


@pytest.mark.parametrize("from_folder", [True, False], ids=["wheels", "index"])
def test_steps_of_the_action_start_a_machine(
    from_folder: bool, runner: dict[str, str], dist: Path, tmp_path: Path
) -> None:
    values = {"inputs.wheels": str(dist) if from_folder else ""}
    for step in (step for step in STEPS if "run" in step):
        given = {
            name: re.sub(r"\$\{\{ (.*?) \}\}", lambda found: values[found[1]], value)
            for name, value in step["env"].items()
        }
        command = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]]
        done = subprocess.run(command, env=runner | given, check=True, stdout=subprocess.PIPE)
        for name, value in lines(tmp_path / "GITHUB_OUTPUT"):
            values[f"steps.host.outputs.{name}"] = value
        runner |= lines(tmp_path / "GITHUB_ENV")
    assert re.search(rb"^ok +machine +it said hello", done.stdout, re.MULTILINE)

    (first,) = (tmp_path / "GITHUB_PATH").read_text().splitlines()
    said = subprocess.check_output([f"{first}/microvm", "--version"], env=runner, text=True)
    assert __version__ in said

    (cache,) = (step["with"] for step in STEPS if "uses" in step)
    assert set(re.findall(r"steps\.\w+\.outputs\.\w+", "".join(cache.values()))) <= set(values)
    assert runner["MICROVM_CACHE"].startswith(values["steps.host.outputs.cache"])

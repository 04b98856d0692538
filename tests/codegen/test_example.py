"""Test that the example works for a new user: copied, and with only the wheel installed."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from tests.support.captured import captured

from microvm_proto.resolve import read_schema

from .common import ROOT

pytestmark = pytest.mark.thorough

SENSOR = ROOT / "examples/sensor"
FLAGS = "-std=c11 -O2 -Wall -Wextra -Wconversion -Werror".split()
GENERATED = [output.path.name for output in read_schema(SENSOR / "sensor.toml").outputs]


@pytest.fixture
def sensor(tmp_path: Path) -> Path:
    """A copy of the handwritten files."""
    folder = tmp_path / "sensor"
    shutil.copytree(SENSOR, folder, ignore=shutil.ignore_patterns("sensor", "__pycache__"))
    for name in GENERATED:
        (folder / name).unlink()
    return folder


def run(*command: str | Path, folder: Path, status: int = 0) -> subprocess.CompletedProcess[str]:
    """Run a program without the variables of this process, except PATH."""
    environment = {"PATH": "/usr/bin:/bin"}
    result = captured(command, cwd=folder, env=environment)
    assert result.returncode == status, result.stdout + result.stderr
    return result


def test_the_bare_installation_brings_click_alone(bare: Path, tmp_path: Path) -> None:
    listed = run(bare / "pip", "list", "--format=freeze", folder=tmp_path).stdout
    names = {line.partition("==")[0] for line in listed.split()}
    assert names - {"pip", "setuptools"} == {"click", "microvm-proto"}


def test_bare_installation_names_the_missing_extra(bare: Path, tmp_path: Path) -> None:
    result = run(bare / "microvm", "image", "ls", folder=tmp_path, status=125)
    assert result.stderr.startswith("microvm: the Python module platformdirs is not installed (")
    assert result.stderr.count("\n") == 1
    assert result.stderr.endswith("(pip install 'microvm-proto[vm]')\n")


def test_installation_can_explain_frames(bare: Path, tmp_path: Path) -> None:
    script = """
from microvm.cli.log import listen
from microvm.log import Area
listen(3)
Area("wire").frame("host", bytes(4) + b"\\x06" + bytes(7))
"""
    said = run(bare / "python", "-c", script, folder=tmp_path).stderr
    assert "frame 1, at 0: status_request, sent by host" in said


@pytest.mark.parametrize("compiler", ["gcc", "clang"])
def test_the_example_runs_as_its_readme_says(bare: Path, sensor: Path, compiler: str) -> None:
    if not shutil.which(compiler):
        pytest.skip(f"{compiler} is not installed")
    wrote = run(bare / "microvm-proto", "gen", folder=sensor).stdout
    assert wrote.split("\n") == [*(f"wrote {name}" for name in GENERATED), ""]
    for name in GENERATED:
        assert (sensor / name).read_text() == (SENSOR / name).read_text(), name
    run(compiler, *FLAGS, "-o", "sensor", "sensor.c", folder=sensor)
    said = run(bare / "python", "read_sensor.py", "temperature", "3", folder=sensor)
    readme = (SENSOR / "README.md").read_text()
    (promised,) = re.findall(r"\nprints\n\n((?:    .*\n)+)", readme)
    assert said.stdout == promised.replace("    ", "")
    assert said.stderr == ""


def test_the_example_is_made_and_run_by_make(bare: Path, sensor: Path) -> None:
    run("make", "gen", f"PATH={bare}:/usr/bin:/bin", folder=sensor)
    said = run("make", "-s", "run", folder=sensor)
    assert said.stdout.startswith("greenhouse, number 4711\n")

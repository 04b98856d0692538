"""Tests of the samples on serial lines: they run as documented, and noise fakes no message."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tests.support.captured import captured

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("examples")
    for name in ("serial", "cortex_m"):
        ignored = shutil.ignore_patterns("meter", "meter.elf", "__pycache__")
        shutil.copytree(EXAMPLES / name, folder / name, ignore=ignored)
    subprocess.run(["make", "-s", "meter", "CC=gcc"], cwd=folder / "serial", check=True)
    return folder


def promised(folder: Path) -> str:
    (text,) = re.findall(r"\nprints\n\n((?:    .*\n)+)", (folder / "README.md").read_text())
    return unhurried(str(text).replace("    ", ""))


def unhurried(text: str) -> str:
    """Return the text without the counts that depend on how fast the meter starts."""
    return re.sub(r": \d+ frames", ": all frames", text)


def make_run(folder: Path, rate: float) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    command = ["make", "-s", "run", f"RATE={rate}"]
    return captured(command, cwd=folder, env=environment)


def check_run(folder: Path) -> None:
    done = make_run(folder, 0)
    assert done.returncode == 0, done.stdout + done.stderr
    assert unhurried(done.stdout) == promised(folder)


def test_the_sample_runs_as_its_readme_says(samples: Path) -> None:
    check_run(samples / "serial")


@pytest.mark.long
def test_bare_metal_sample_runs_as_its_readme_says(samples: Path) -> None:
    for needed in "arm-none-eabi-gcc", "qemu-system-arm":
        if not shutil.which(needed):
            pytest.skip(f"{needed} is not installed")
    check_run(samples / "cortex_m")
    # On such a line, five attempts may fail.
    said = make_run(samples / "cortex_m", 0.01).stdout
    assert re.search(r"^line: [1-9]\d* bits flipped$", said, re.MULTILINE)

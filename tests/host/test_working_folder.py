"""Tests of a command in a working folder with files of another user."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.support.captured import captured

STRANGE = "raise SystemExit('a module of a stranger')\n"


def run(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the command line as `python -m microvm`."""
    command = [sys.executable, "-m", "microvm", *arguments]
    variables = {**os.environ, "MICROVM_CACHE": str(folder / "cache"), **environment}
    return captured(command, cwd=folder, env=variables)


@pytest.mark.parametrize("name", ["click", "platformdirs", "signal", "json", "microvm_image"])
def test_no_module_in_the_working_folder_is_imported(tmp_path: Path, name: str) -> None:
    (tmp_path / f"{name}.py").write_text(STRANGE)
    ended = run(tmp_path, "image", "ls")
    assert (ended.returncode, ended.stderr) == (0, "")


@pytest.mark.parametrize("entry", ["", ".", "bin/.."])
def test_no_tool_in_the_working_folder_is_executed(tmp_path: Path, entry: str) -> None:
    (tmp_path / "bin").mkdir()
    for name in ("qemu-system-x86_64", "gcc", "make", "mkfs.ext4"):
        (tmp_path / name).write_text(f"#!/bin/sh\n: > {tmp_path}/executed\n")
        (tmp_path / name).chmod(0o755)
    ended = run(tmp_path, "run", "true", PATH=f"{entry}:/nonexistent")
    assert ended.returncode == 125  # it did not find the program
    assert not (tmp_path / "executed").exists()

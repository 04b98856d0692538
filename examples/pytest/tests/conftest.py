"""Fixtures that give each test a machine with the installed package."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from microvm.sync import MicroVM
from microvm.testing import MicroVMOptions, Setup

PROJECT = Path(__file__).parents[1]
INSTALL = "python3 -m pip install --no-index --break-system-packages --root-user-action ignore"


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel as for a release."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(build, cwd=PROJECT, check=True, capture_output=True)
    (path,) = folder.glob("*.whl")
    return path


@pytest.fixture(scope="session")
def microvm_options() -> MicroVMOptions:
    """Return the options of all machines: an image with Python, and a small root file system."""
    return {"image": "python", "memory": "256M"}


@pytest.fixture(scope="session")
def microvm_setup(wheel: Path) -> Setup:
    """Return the slow preparation, which runs once; the machines of tests are forked after it."""

    def install(vm: MicroVM) -> None:
        vm.put(wheel, f"/root/{wheel.name}")
        vm.run([*INSTALL.split(), f"/root/{wheel.name}"], check=True)

    return install

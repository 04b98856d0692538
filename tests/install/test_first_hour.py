"""Test of a new user's first hour with each Python, as root and as a user, with the built files."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from tests.install import built
from tests.install.built import PYTHONS, installed
from tests.install.first_hour import perform


@pytest.fixture(scope="module")
def python_image(shared: Path) -> Path:
    path = shared / "python.image"
    microvm = [sys.executable, "-m", "microvm"]
    subprocess.run([*microvm, "run", "--image", "python", "--", "true"], check=True)
    subprocess.run([*microvm, "image", "export", "--output", path, "python"], check=True)
    return path


@pytest.mark.parametrize(
    ("python", "is_user"),
    list(zip(PYTHONS, [True, False], strict=True)),
    ids=["python-user", "python3.11-root"],
)
def test_the_first_hour(
    python: str,
    is_user: bool,
    dist: Path,
    python_image: Path,
    shared: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    python = installed(python)
    also = ("pytest", "uvloop")
    built.download(dist, python, *also)
    in_root = Path(python).is_relative_to("/root")
    host = built.host(Path(tempfile.mkdtemp(dir=shared)), is_user=is_user, reads_all=in_root)
    (host.home / "python.image").symlink_to(python_image)
    host.install(dist, python, built.WHAT, *also)
    version = host.run(["python", "--version"]).stdout.strip()
    with capsys.disabled():
        print(f"\n{version}, {'an ordinary user' if is_user else 'whoever runs this'}")
        for step, took in perform(host):
            print(f"{took:7.2f} s  {step.line}")

"""Each way to install it that docs/install.md has, from the built files, without an index."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from tests.install import built
from tests.install.built import WHAT, Host

pytestmark = pytest.mark.long

PROGRAMS = Path(sys.executable).parent


@pytest.fixture
def empty(tmp_path: Path) -> Host:
    """A host on which nothing is installed."""
    return built.host(tmp_path, is_user=False)


def works(host: Host) -> None:
    """Both commands are there, and a machine starts."""
    assert host.run(["microvm-proto", "--version"]).stdout.startswith("microvm-proto, version ")
    assert host.run(["microvm", "run", "--", "echo", "hello"]).stdout == "hello\n"


def test_a_tool_of_uv(empty: Host, dist: Path) -> None:
    index = ["--offline", "--no-index", "--find-links", str(dist)]
    uv = [str(PROGRAMS / "uv"), "tool", "install", "--python", sys.executable]
    empty.run([*uv, *index, WHAT])
    works(empty)


def test_an_application_of_pipx(empty: Host, dist: Path) -> None:
    index = f"--pip-args=--no-index --find-links {dist}"
    empty.run([PROGRAMS / "pipx", "install", "--python", sys.executable, index, WHAT])
    works(empty)


def test_the_source_distribution_makes_the_same_wheel(dist: Path, tmp_path: Path) -> None:
    (archive,) = dist.glob("microvm_proto-*.tar.gz")
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*pip, "--wheel-dir", tmp_path, archive], check=True)
    (wheel,) = tmp_path.glob("*.whl")
    assert wheel.read_bytes() == (dist / wheel.name).read_bytes()


def test_the_protocol_tool_alone_brings_click_alone(empty: Host, dist: Path) -> None:
    empty.install(dist, sys.executable, "microvm-proto")
    listed = empty.run(["pip", "list", "--format=freeze"]).stdout.split()
    names = {line.partition("==")[0] for line in listed}
    assert names - {"pip", "setuptools"} == {"click", "microvm-proto"}
    empty.run(["microvm-proto", "init", "probe"])

"""Tests of each way of installation in docs/install.md, with the built files, without an index."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from tests.install import built
from tests.install.built import UserHost

PROGRAMS = Path(sys.executable).parent


def section(title: str) -> list[str]:
    """Return the commands of a section of docs/install.md, except those that root runs."""
    text = (built.ROOT / "docs/install.md").read_text().partition(f"# {title}\n")[2]
    lines = re.findall(r"^    (\S.*)$", text.partition("\n## ")[0], re.MULTILINE)
    return [line for line in lines if not line.startswith("sudo apt ")]


DOWNLOAD, *OFFLINE = section("Without a network")


@pytest.fixture
def empty(tmp_path: Path) -> UserHost:
    """A host without microvm, with the installer of each way."""
    host = built.host(tmp_path, is_user=False)
    programs = {name: PROGRAMS / name for name in ("pipx", "uv")}
    python = Path(
        sys.executable
    ).resolve()  # not the Python of a virtual environment, which uv ignores
    system = {name: Path("/bin", name) for name in ("rm", "uname")}
    for name, path in (programs | system | {"python3": python}).items():
        (host.folder / "bin" / name).symlink_to(path)
    return host


@pytest.fixture
def index(dist: Path) -> dict[str, str]:
    """Return the variables that let pip and uv find the built files, as the page lists them."""
    (line,) = [each for each in section("Where the wheels come from") if each.startswith("export ")]
    named = dict(each.split("=") for each in line.removeprefix("export ").split())
    assert set(named.values()) == {"$PWD/dist"}
    return {"PIP_NO_INDEX": "1", "UV_OFFLINE": "1", **dict.fromkeys(named, str(dist))}


def typed(host: UserHost, line: str, **environment: str) -> str:
    """Run a line in a shell, and return its output."""
    return host.run(["sh", "-c", line], status=0, **environment).stdout


def works(host: UserHost) -> None:
    """Check that both commands exist, and that a machine starts."""
    assert host.run(["microvm-proto", "--version"]).stdout.startswith("microvm-proto, version ")
    assert host.run(["microvm", "run", "--", "echo", "hello"]).stdout == "hello\n"


def test_a_virtual_environment_and_its_end(empty: UserHost, index: dict[str, str]) -> None:
    script = "\n".join(["set -e", *section("Installing")])
    path = str(empty.folder / "bin")  # without the virtual environment, which the commands activate
    assert typed(empty, script, PATH=path, **index).endswith("\nhello\n")
    works(empty)
    for line in section("Removing it"):
        typed(empty, line, PIP_YES="1")
    assert not list(empty.home.rglob("*microvm*"))


@pytest.mark.parametrize("line", section("As a tool"))
def test_a_tool(line: str, empty: UserHost, index: dict[str, str]) -> None:
    typed(empty, line, **index)
    works(empty)


@pytest.mark.parametrize("line", OFFLINE)
def test_without_a_network(line: str, empty: UserHost, index: dict[str, str]) -> None:
    typed(empty, "python3 -m venv env")
    typed(empty, DOWNLOAD, **index)
    typed(empty, line)
    works(empty)


def test_the_source_distribution_makes_the_same_wheel(dist: Path, tmp_path: Path) -> None:
    (archive,) = dist.glob("microvm_proto-*.tar.gz")
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*pip, "--wheel-dir", tmp_path, archive], check=True)
    (wheel,) = tmp_path.glob("*.whl")
    assert wheel.read_bytes() == (dist / wheel.name).read_bytes()


def test_the_protocol_tool_alone_brings_click_alone(empty: UserHost, dist: Path) -> None:
    empty.install(dist, sys.executable, "microvm-proto")
    listed = empty.run(["pip", "list", "--format=freeze"]).stdout.split()
    names = {line.partition("==")[0] for line in listed}
    assert names - {"pip", "setuptools"} == {"click", "microvm-proto"}
    empty.run(["microvm-proto", "init", "probe"])

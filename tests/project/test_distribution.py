"""Tests of the contents of wheel and source distribution."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from tests.support.commands import below

from microvm import __version__
from microvm.cli.root import cli
from microvm_proto.cli import main as proto

ROOT = Path(__file__).parents[2]
BUILT = {"__pycache__", "build"}

#: The folders of the wheel for these folders.
WHEEL = {
    "codegen/microvm_proto": "microvm_proto",
    "host/microvm": "microvm",
    "image/microvm_image": "microvm_image",
    "guest": "microvm_image/_guest",
    "host/confine": "microvm/_confine",
}
SOURCE = ["codegen", "docs", "examples", "fuzz", "guest", "host", "image", "protocol", "tests"]


#: The folder of the manual pages.
MANUAL = f"microvm_proto-{__version__}.data/data/share/man/man1"


VERBS = {**dict(below(cli, "microvm")), **dict(below(proto, "microvm-proto"))}


def sources(folder: str) -> Iterator[str]:
    """Return the files in a folder, relative to it, except built ones."""
    for path in (ROOT / folder).rglob("*"):
        name = path.relative_to(ROOT / folder)
        if path.is_file() and not BUILT.intersection(name.parts):
            yield str(name)


@pytest.fixture(scope="module")
def distributions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel and the source distribution."""
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "hatchling", "build", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    return folder


@pytest.mark.thorough
def test_wheel_contains_packages_daemon_and_schema_only(distributions: Path) -> None:
    (path,) = distributions.glob("*.whl")
    with zipfile.ZipFile(path) as wheel:
        packed = {name for name in wheel.namelist() if ".dist-info/" not in name}
    wanted = {f"{to}/{name}" for folder, to in WHEEL.items() for name in sources(folder)}
    pages = {f"{MANUAL}/{'-'.join(verb)}.1" for verb in VERBS}
    assert packed == wanted | {"microvm/_protocol/sandboxd.toml"} | pages


def test_each_verb_has_a_manual_page_with_its_options(distributions: Path) -> None:
    (path,) = distributions.glob("*.whl")
    with zipfile.ZipFile(path) as wheel:
        for verb, command in VERBS.items():
            page = wheel.read(f"{MANUAL}/{'-'.join(verb)}.1").decode()
            title = page.partition(".SH SYNOPSIS")[0]
            assert not title.rstrip().endswith(("...", "\\-"))
            assert "\b" not in page
            for option in command.params:
                if isinstance(option, click.Option):
                    assert max(option.opts, key=len).replace("-", "\\-") in page, verb


def test_the_source_distribution_has_all_that_its_makefile_needs(distributions: Path) -> None:
    (path,) = distributions.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        packed = {name.partition("/")[2] for name in archive.getnames()}
    wanted = {f"{folder}/{name}" for folder in SOURCE for name in sources(folder)}
    wanted -= {
        f"examples/{built}" for built in ("sensor/sensor", "serial/meter", "cortex_m/meter.elf")
    }
    assert wanted | {"Makefile", "constraints.txt", "pyproject.toml", "README.md"} <= packed
    assert not any(name.startswith((".ci", "guest/build")) for name in packed)

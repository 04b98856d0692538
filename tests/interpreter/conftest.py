"""Fixtures: the interpreter's program, each installed Python, and an interpreter that runs."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from microvm.interpreter.program import program as source

from .talk import Talk, running

VERSION = "import sys; print('%d.%d' % sys.version_info[:2])"


def pythons() -> dict[str, str]:
    """Return the installed versions of Python, and a program of each."""
    found: dict[str, str] = {}
    names = (f"python{version}" for version in ("3.8", "3.11", "3.12", "3.13"))
    for name in (sys.executable, "/usr/bin/python3", *names):
        if path := shutil.which(name):
            command = [path, "-c", VERSION]
            done = subprocess.run(command, check=False, capture_output=True, text=True)
            if done.returncode == 0:  # pyenv has programs for versions that are not chosen
                found.setdefault(done.stdout.strip(), path)
    return found


# `make test` uses one of them.
PYTHONS = [
    pytest.param(path, id=version, marks=[pytest.mark.thorough] * (number > 0))
    for number, (version, path) in enumerate(pythons().items())
]


@pytest.fixture(scope="session", params=PYTHONS)
def python(request: pytest.FixtureRequest) -> str:
    """A Python of each installed version."""
    path: str = request.param
    return path


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of the interpreter's program."""
    path = tmp_path_factory.mktemp("program") / "interpreter.py"
    path.write_text(source())
    return path


@pytest.fixture
def path(program: Path, python: str, tmp_path: Path) -> Iterator[Path]:
    """The socket of a new interpreter."""
    with running(program, python, tmp_path) as socket:
        yield socket


@pytest.fixture
def talk(path: Path) -> Iterator[Talk]:
    """A connection to a new interpreter."""
    with Talk(path) as connection:
        yield connection


@pytest.fixture(scope="session")
def shared(program: Path, python: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Talk]:
    """A connection to an interpreter that several tests use, one after another."""
    folder = tmp_path_factory.mktemp("shared")
    with running(program, python, folder) as socket, Talk(socket) as connection:
        yield connection

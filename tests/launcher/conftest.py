"""Fixtures with the launcher of the product, and small programs that it runs."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from tests.support.confined import SOURCE, build

collect_ignore_glob = [] if sys.platform == "linux" else ["test_*.py"]

HERE = Path(__file__).parent
USER = 12345

Program = Callable[[str], Path]


@pytest.fixture(scope="session")
def folder() -> Iterator[Path]:
    """A folder that every user can read, unlike the temporary folders of pytest."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.fixture
def reachable(folder: Path) -> Path:
    """A folder for one test that every user can read."""
    made = Path(tempfile.mkdtemp(dir=folder))
    made.chmod(0o755)
    return made


@pytest.fixture(scope="session")
def launcher(folder: Path) -> Path:
    return build(folder)


@pytest.fixture(scope="session")
def program(folder: Path) -> Program:
    """A function that compiles a program of this folder once."""

    def compiled(name: str) -> Path:
        path = folder / name
        if not path.exists():
            flags = ["-std=gnu11", "-Wall", "-Wextra", "-Werror", f"-I{SOURCE}"]
            command = ["gcc", *flags, "-o", str(path), str(HERE / f"{name}.c")]
            subprocess.run(command, check=True, timeout=60)
        return path

    return compiled


@pytest.fixture(params=["ourselves", "an ordinary user"])
def prefix(request: pytest.FixtureRequest) -> Sequence[str]:
    """A command that runs the launcher as the present user, and as root also as another one."""
    if request.param == "ourselves":
        return []
    if os.geteuid() != 0:
        pytest.skip("ourselves are one")
    setpriv = shutil.which("setpriv") or "setpriv"
    return [setpriv, f"--reuid={USER}", f"--regid={USER}", "--clear-groups"]

"""Test of a new user's first hour with each Python, as root and as a user, with the built files."""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.install import built
from tests.install.built import PYTHONS, installed

#: Files that the user writes meanwhile.
FILES = {
    "jobs": 'echo one\n["sh", "-c", "exit 3"]\n',
    "test_clean.py": """\
def test_plugin_is_installed(microvm):
    microvm.run(["rm", "-rf", "/etc"], check=True)
""",
}


@dataclass(frozen=True, slots=True)
class UserStep:
    """A step of the user.

    :ivar line: command line.
    :ivar shows: text that its output must contain.
    :ivar status: expected exit status.
    """

    line: str
    shows: str = ""
    status: int = 0


#: Steps that depend on the installation. The tests in tests/vm are about the other options.
STEPS = (
    UserStep("microvm --version", "microvm, version "),
    UserStep("microvm run -- echo hello", "hello\n"),
    UserStep("microvm doctor", "hello"),
    UserStep("microvm start web"),
    UserStep("microvm exec web -- sh -c 'echo kept >/tmp/state'"),
    UserStep("microvm checkpoint web ready"),
    UserStep("microvm stop web"),
    UserStep("microvm run --from ready -- cat /tmp/state", "kept\n"),
    UserStep("microvm map jobs", '"status": 3', 1),
    UserStep("pytest -q test_clean.py", "1 passed"),
    UserStep("microvm-proto init probe && cd probe && microvm-proto lint"),
)


@pytest.mark.parametrize(
    ("python", "is_user"),
    list(zip(PYTHONS, [True, False], strict=True)),
    ids=["python-user", "python3.11-root"],
)
def test_the_first_hour(
    python: str, is_user: bool, dist: Path, shared: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    python = installed(python)
    built.download(dist, python, "pytest")
    in_root = Path(python).is_relative_to("/root")
    host = built.host(Path(tempfile.mkdtemp(dir=shared)), is_user=is_user, reads_all=in_root)
    host.install(dist, python, built.WHAT, "pytest")
    for name, text in FILES.items():
        (host.home / name).write_text(text)
    host.own()
    version = host.run(["python", "--version"]).stdout.strip()
    with capsys.disabled():
        print(f"\n{version}, {'an ordinary user' if is_user else 'whoever runs this'}")
        for step in STEPS:
            begun = time.monotonic()
            done = host.run(["sh", "-c", step.line], status=step.status)
            print(f"{time.monotonic() - begun:7.2f} s  {step.line}")
            assert step.shows in done.stdout + done.stderr, step.line

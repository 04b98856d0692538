"""Tests of commands on an imitated macOS, with a real guest under emulation."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.support.captured import captured
from tests.support.target import target

from microvm import cache
from microvm.arches import native

# The tests remove records of the cache, and the cache of macOS would be another folder.
pytestmark = [pytest.mark.thorough, pytest.mark.usefixtures("copied_cache")]

ROOT = Path(__file__).parents[2]


def microvm(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command of microvm on an imitated macOS."""
    command = [sys.executable, "-m", "tests.support.macos", "microvm", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return captured(command, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, timeout=300)


@pytest.fixture
def _no_notices() -> None:
    """Forget which notices were given, so that the next start gives them again."""
    for path in (*cache.root().glob("lack-*"), *cache.root().glob("accel-*")):
        path.unlink()


@pytest.mark.usefixtures("image", "_no_notices")
def test_machine_boots_and_notices_say_what_macos_lacks() -> None:
    first, second = (microvm("run", "--", "uname") for _ in range(2))
    assert (first.stdout, second.stdout) == ("Linux\n", "Linux\n")
    # The QEMU for Linux has no HVF, so it refuses to start, and the next start emulates. Guests of
    # another architecture never use HVF.
    uses_hvf = target().name == native()
    assert ("HVF refuses to run a machine" in first.stderr) == uses_hvf
    assert "because macOS lacks files in memory (memfd_create); each machine boots" in first.stderr
    assert "because macOS lacks Landlock, seccomp and namespaces; QEMU starts" in first.stderr
    assert second.stderr == ""


@pytest.mark.usefixtures("image")
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ("run", "--confinement", "require", "--", "true"),
            "macOS lacks Landlock, seccomp and ",
        ),
        (("start", "web"), "machines cannot have names on this host, because macOS lacks "),
        (("confinement",), "QEMU cannot be confined on this host, because macOS lacks "),
    ],
)
def test_command_that_needs_linux_says_what_to_do_instead(
    arguments: tuple[str, ...], said: str
) -> None:
    done = microvm(*arguments)
    assert done.returncode == 125
    assert said in done.stderr
    assert "use a host that runs Linux" in done.stderr
    assert len(done.stderr.splitlines()) == 1

"""Tests that a cancelled or killed build leaves no processes and no incomplete files."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.image.conftest import Leftovers
from tests.support import signals
from tests.support.lifeline import Lifeline
from tests.support.processes import environment

from microvm import MicroVM
from microvm.cli.signals import exit_on_signal
from microvm.images import readymade
from microvm.system import namespaces
from microvm.system.tools import started
from microvm_image.image_removal import prune

#: A slow tool: it mounts a file system if it may, and waits for a child process.
SLOW = """#!/bin/sh
exec 9>{lifeline}
mkdir $TMPDIR/mounted
mount -t tmpfs microvm-test $TMPDIR/mounted 2>/dev/null
sleep 1000 &
echo begun >&9
wait
"""
#: A replacement of `unshare`, for tests that do not need the ids of an ordinary user.
NO_IDS = '#!/bin/sh\nuntil [ "$1" = -- ]; do shift; done\nshift\nexec "$@"\n'


@pytest.fixture
def lifeline(tmp_path: Path) -> Iterator[Lifeline]:
    """Yield the lifeline of the tools that a test starts."""
    made = Lifeline(tmp_path / "lifeline")
    yield made
    made.close()


@pytest.fixture
def slow(
    tmp_path: Path, lifeline: Lifeline, temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> Lifeline:
    """Replace mmdebstrap by a slow tool, and return the tool's lifeline.

    All other ways to get a ready-made image fail.
    """
    folder = tmp_path / "programs"
    folder.mkdir()
    programs = {
        "mmdebstrap": SLOW.format(lifeline=lifeline),
        "apt-get": "#!/bin/sh\n",
        "skopeo": "#!/bin/sh\nexit 1\n",
    }
    if os.geteuid():
        programs["unshare"] = NO_IDS
    for name, text in programs.items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return lifeline


@pytest.mark.thorough
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signal_ends_a_build_and_its_tools(
    number: signal.Signals, slow: Lifeline, temporary: Path, leftovers: Leftovers, tmp_path: Path
) -> None:
    with build() as process:
        slow.wait_for_start()
        process.send_signal(number)
        out, err = process.communicate()
    status = -number if number == signal.SIGINT else 128 + number
    assert (process.returncode, out) == (status, "")
    assert "Traceback" not in err
    slow.wait_for_end()
    assert not leftovers()
    assert not [*temporary.iterdir()]
    assert not namespaces.mounts_below(str(tmp_path))


def test_killed_build_leaves_no_process_and_prune_its_files(
    slow: Lifeline, leftovers: Leftovers, tmp_path: Path
) -> None:
    with build() as process:
        slow.wait_for_start()
        process.kill()
        process.communicate()
    slow.wait_for_end()
    assert not namespaces.mounts_below(str(tmp_path))
    assert leftovers()
    prune()
    assert not leftovers()


def build() -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "microvm", "image", "build", "x", "--from", "debian:trixie"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=signals.restore,  # noqa: PLW1509 -- the test has no threads
        env=environment(),
    )


async def test_cancelled_start_ends_the_build_of_its_image(
    slow: Lifeline, leftovers: Leftovers
) -> None:
    assert readymade.needs_build("python")
    machine = asyncio.create_task(MicroVM("python").start())
    await asyncio.to_thread(slow.wait_for_start)
    assert not machine.done()
    machine.cancel()
    with pytest.raises(asyncio.CancelledError):
        await machine
    slow.wait_for_end()
    assert not leftovers()


def test_tool_that_ignores_signals_is_killed(lifeline: Lifeline) -> None:
    deaf = f"trap '' TERM INT HUP; {SLOW.format(lifeline=lifeline)}"
    with started(["sh", "-c", deaf]):
        lifeline.wait_for_start()
    lifeline.wait_for_end()


def test_signal_during_the_start_ends_a_program(
    lifeline: Lifeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Popen(subprocess.Popen[bytes]):
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **options)
            lifeline.wait_for_start()
            signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(subprocess, "Popen", Popen)
    with (
        pytest.raises(SystemExit, match="143"),
        exit_on_signal(),
        started(["sh", "-c", SLOW.format(lifeline=lifeline)]),
    ):
        pass
    lifeline.wait_for_end()

"""A build that is ended from outside: nothing that it has started or half made stays."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.support import signals

from microvm import MicroVM
from microvm.cli.signals import raised
from microvm.errors import ImageError
from microvm.system.tools import run, started
from microvm_image import readymade
from microvm_image.removal import prune

Leftovers = Callable[[], list[str]]

#: Stands in for a program that takes long: it, and a child of it, which it waits for.
SLOW = """#!/bin/sh
sleep 1000 &
echo $! $$ >>{pids}
wait
"""


@pytest.fixture
def pids(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give the file where the stand-in of mmdebstrap, which takes long, says what it has started.

    There is no other way to a ready-made image.
    """
    folder = tmp_path / "programs"
    folder.mkdir()
    for name, text in {
        "mmdebstrap": SLOW.format(pids=tmp_path / "pids"),
        "apt-get": "#!/bin/sh\n",
        "skopeo": "#!/bin/sh\nexit 1\n",
    }.items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return tmp_path / "pids"


def wait_for(condition: Callable[[], bool]) -> None:
    """Wait until it holds, but not for ever."""
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def is_running(pids: Path) -> bool:
    """Whether something runs that was started."""
    return any(_is_alive(pid) for pid in pids.read_text().split())


def _is_alive(pid: str) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def has_begun(pids: Path) -> bool:
    return pids.exists() and len(pids.read_text().split()) == 2


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_a_build_and_all_that_it_has_started(
    number: signal.Signals, pids: Path, leftovers: Leftovers
) -> None:
    with build() as process:
        wait_for(lambda: has_begun(pids))
        process.send_signal(number)
        out, err = process.communicate()
    status = -number if number == signal.SIGINT else 128 + number
    assert (process.returncode, out) == (status, "")
    assert "Traceback" not in err
    wait_for(lambda: not is_running(pids))
    assert not leftovers()


def test_a_build_that_is_killed_leaves_nothing_running_and_prune_the_rest(
    pids: Path, leftovers: Leftovers
) -> None:
    with build() as process:
        wait_for(lambda: has_begun(pids))
        process.kill()
        process.communicate()
    parent = pids.read_text().split()[1]
    wait_for(lambda: not _is_alive(parent))
    os.kill(int(pids.read_text().split()[0]), signal.SIGKILL)  # a shell does not end its children
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
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )


async def test_a_machine_that_is_cancelled_ends_the_build_of_its_image(
    pids: Path, leftovers: Leftovers
) -> None:
    assert readymade.is_missing("python")
    machine = asyncio.create_task(MicroVM("python").start())
    while not has_begun(pids):
        assert not machine.done()
        await asyncio.sleep(0.02)
    machine.cancel()
    with pytest.raises(asyncio.CancelledError):
        await machine
    wait_for(lambda: not is_running(pids))
    assert not leftovers()


def test_what_is_started_ends_with_its_owner(tmp_path: Path) -> None:
    pids = tmp_path / "pids"

    def work() -> None:
        with started(["sh", "-c", SLOW.format(pids=pids)]):
            wait_for(lambda: has_begun(pids))
            raise KeyError

    with pytest.raises(KeyError):
        work()
    wait_for(lambda: not is_running(pids))


def test_what_does_not_end_when_it_is_told_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("microvm.system.tools._CLEANUP_TIMEOUT", 0.1)
    pids = tmp_path / "pids"
    deaf = f"trap '' TERM; {SLOW.format(pids=pids)}"
    with started(["sh", "-c", deaf]):
        wait_for(lambda: has_begun(pids))
    wait_for(lambda: not is_running(pids))


def test_a_program_says_why_it_failed() -> None:
    with pytest.raises(ImageError, match="trying failed: sh ended with status 3") as failure:
        run(["sh", "-c", "echo why >&2; exit 3"], what="trying")
    assert failure.value.detail == "why"
    with pytest.raises(ImageError, match="trying failed: nothing-here is not installed"):
        run(["nothing-here"], what="trying")
    assert run(["sh", "-c", "printf said"], what="trying") == "said"


def test_a_signal_that_comes_while_a_program_starts_ends_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pids = tmp_path / "pids"

    class Popen(subprocess.Popen[bytes]):
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **options)
            wait_for(lambda: has_begun(pids))
            signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(subprocess, "Popen", Popen)
    with (
        pytest.raises(SystemExit, match="143"),
        raised(),
        started(["sh", "-c", SLOW.format(pids=pids)]),
    ):
        pass
    wait_for(lambda: not is_running(pids))

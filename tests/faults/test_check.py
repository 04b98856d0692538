"""Tests that the check after a fault finds each kind of remaining object."""

from __future__ import annotations

import asyncio
import os
import subprocess
import threading
import warnings
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from .check import nothing_left

pytestmark = pytest.mark.thorough


def _process(_: Path, later: ExitStack) -> None:
    process = subprocess.Popen(["sleep", "60"])
    later.callback(process.wait)
    later.callback(process.kill)


def _zombie(_: Path, later: ExitStack) -> None:
    process = subprocess.Popen(["true"])
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    later.callback(process.wait)


def _orphan(_: Path, later: ExitStack) -> None:
    shell = subprocess.run(
        ["sh", "-c", "sleep 60 >/dev/null 2>&1 & echo $!"], capture_output=True, check=True
    )
    later.callback(os.waitpid, int(shell.stdout), 0)
    later.callback(os.kill, int(shell.stdout), 9)


def _descriptor(_: Path, later: ExitStack) -> None:
    later.callback(os.close, os.open("/dev/null", os.O_RDONLY))


def _lock(cache: Path, _: ExitStack) -> None:
    (cache / ".template.lock").touch()


def _thread(_: Path, later: ExitStack) -> None:
    over = threading.Event()
    thread = threading.Thread(target=over.wait)
    thread.start()
    later.callback(thread.join)
    later.callback(over.set)


def _task(_: Path, later: ExitStack) -> None:
    later.callback(asyncio.create_task(asyncio.sleep(60)).cancel)


def _warning(_: Path, __: ExitStack) -> None:
    warnings.warn("left", ResourceWarning, stacklevel=1)


@pytest.mark.parametrize(
    ("leave", "says"),
    [
        (_process, "a process is left"),
        (_zombie, "a process is left"),
        (_orphan, "a process is left"),
        (_descriptor, "a descriptor is left"),
        (_lock, "a file is left"),
        (_thread, "a thread is left"),
        (_task, "a task is left"),
        (_warning, "a warning is left"),
    ],
)
async def test_leftovers_are_found(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    leave: Callable[[Path, ExitStack], None],
    says: str,
) -> None:
    monkeypatch.setenv("MICROVM_CACHE", str(tmp_path))
    with ExitStack() as later, pytest.raises(AssertionError, match=says), nothing_left(tmp_path):
        leave(tmp_path, later)
    await asyncio.sleep(0)  # a cancelled task ends

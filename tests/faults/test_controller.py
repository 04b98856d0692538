"""Tests of controllers that are killed, execute or fork: the machine ends with its controller."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from tests.support.polling import eventually
from tests.support.processes import ObservedProcess, adopting, children

from microvm.images import Image

from .check import uses_its_template
from .matrix import WITHIN
from .state import STATES, FaultScene

pytestmark = pytest.mark.thorough

SIGNALS = "SIGHUP", "SIGKILL", "SIGSEGV", "SIGTERM"
"""Some of the signals that end a process by default."""

CHEAP = {("cloning", "SIGTERM"), ("executing", "SIGSEGV")}


class Controller:
    """A controller in a state.

    :ivar qemu: QEMU process of the machine in that state.
    """

    def __init__(self, process: subprocess.Popen[str], err: Path) -> None:
        self.process = process
        self._err = err
        assert process.stdout is not None
        reached, pid = process.stdout.readline().split()
        assert reached == "reached"
        self.qemu = ObservedProcess.of(int(pid))

    def end(self) -> tuple[int, str]:
        """Wait until the controller exits, and return its status and its error output."""
        status = self.process.wait(WITHIN)
        return status, self._err.read_text()


@pytest.fixture
def cache(templates: Path, tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """A cache with a template, unless the state is that of saving one."""
    return tmp_path / "cache" if request.getfixturevalue("state") == "saving" else templates


@contextmanager
def controller(
    state: str, act: str, image: Image, cache: Path, temporary: Path
) -> Iterator[Controller]:
    """Yield a controller that does an act in a state; no process or file of it may remain."""
    command = [sys.executable, "-m", "tests.faults.controller", state, str(image.path), act]
    env = {**os.environ, "MICROVM_CACHE": str(cache)}
    err = temporary / "err"
    before = set(children(os.getpid()))
    with adopting(), err.open("w") as file:
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=file, text=True, env=env
        ) as process:
            try:
                yield Controller(process, err)
            finally:
                process.kill()
        begun = time.monotonic()
        eventually(lambda: _reaped() <= before)
        assert time.monotonic() - begun < WITHIN
    err.unlink()
    assert list(temporary.iterdir()) == []


def _reaped() -> set[int]:
    """Reap our exited children, and return the others."""
    for child in children(os.getpid()):
        with suppress(ChildProcessError):
            os.waitpid(child, os.WNOHANG)
    return set(children(os.getpid()))


def _next_start(image: Image, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Check that the next start uses or creates a template, and that no lock remains."""
    monkeypatch.setenv("MICROVM_CACHE", str(cache))
    scene = FaultScene(image)

    async def start() -> None:
        async with scene.machine():
            assert scene.told == []
        await uses_its_template(scene)

    asyncio.run(start())
    assert [path for path in cache.rglob(".*") if path.parent.name != "programs"] == []


def _cheap_or_long() -> Iterator[object]:
    for state in STATES:
        for name in SIGNALS:
            marks = () if (state, name) in CHEAP else pytest.mark.long
            yield pytest.param(state, name, marks=marks)


@pytest.mark.parametrize(("state", "name"), [*_cheap_or_long()])
def test_signal_to_the_controller_ends_qemu(
    state: str,
    name: str,
    image: Image,
    cache: Path,
    temporary: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with controller(state, name, image, cache, temporary) as killed:
        status, said = killed.end()
        assert status == -signal.Signals[name], said
        eventually(lambda: not killed.qemu.is_alive())
    _next_start(image, cache, monkeypatch)


def _states(*cheap: str) -> pytest.MarkDecorator:
    marked = [
        each if each in cheap else pytest.param(each, marks=pytest.mark.long) for each in STATES
    ]
    return pytest.mark.parametrize("state", marked)


@_states("cloning")
@pytest.mark.parametrize("act", ["multiprocessed", pytest.param("SIGPIPE", marks=pytest.mark.long)])
def test_harmless_acts_keep_the_machine(
    act: str,
    state: str,
    image: Image,
    cache: Path,
    temporary: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with controller(state, act, image, cache, temporary) as unharmed:
        if state in {"executing", "flooding"}:  # the command never ends
            time.sleep(1)
            assert unharmed.qemu.is_alive()
            assert unharmed.process.poll() is None
        else:
            status, said = unharmed.end()
            assert status == 0, said
    _next_start(image, cache, monkeypatch)


@_states()
def test_forked_child_does_not_keep_the_machine(
    state: str, image: Image, cache: Path, temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = set(children(os.getpid()))
    with controller(state, "forked", image, cache, temporary) as forked:
        if state in {"executing", "flooding"}:
            forked.process.kill()
        forked.process.wait(WITHIN)
        begun = time.monotonic()
        eventually(lambda: not forked.qemu.is_alive())
        assert time.monotonic() - begun < WITHIN
        for child in set(children(os.getpid())) - before - {forked.process.pid}:
            os.kill(child, signal.SIGKILL)
    _next_start(image, cache, monkeypatch)


@pytest.mark.parametrize("state", ["idle"])
@pytest.mark.parametrize("act", ["executed", pytest.param("daemonised", marks=pytest.mark.long)])
def test_machine_ends_if_its_controller_is_replaced(
    act: str,
    state: str,
    image: Image,
    cache: Path,
    temporary: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """QEMU ends with the process that started it, or when its guest has lost the host."""
    before = set(children(os.getpid()))
    with controller(state, act, image, cache, temporary) as gone:
        begun = time.monotonic()
        eventually(lambda: not gone.qemu.is_alive())
        assert time.monotonic() - begun < WITHIN
        if act == "daemonised":
            gone.process.wait(WITHIN)
            for child in set(children(os.getpid())) - before - {gone.process.pid}:
                with suppress(ProcessLookupError):
                    os.kill(child, signal.SIGKILL)
    _next_start(image, cache, monkeypatch)

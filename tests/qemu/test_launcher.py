"""The launcher is compiled once, kept, and waited for until it has said which process is QEMU."""

from __future__ import annotations

import asyncio
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.confined import confined

from microvm import compiler
from microvm.errors import ConfinementError
from microvm.qemu import launcher
from microvm.qemu.child import Child


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and a folder for temporary files."""
    folder, temporary = tmp_path / "cache", tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setenv("MICROVM_CACHE", str(folder))
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    return folder


def works(program: Path) -> bool:
    """Tell whether it executes what it is told to."""
    return confined(program, ["--read", "/"], ["/bin/true"]).code == 0


def test_it_is_compiled_once(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not launcher.is_ready()
    program = launcher.find()
    assert launcher.is_ready()
    assert program.parent == cache / "programs"
    assert [*program.parent.iterdir()] == [program]
    assert works(program)
    monkeypatch.setattr(compiler, "make", None)
    assert launcher.find() == program


def test_where_nothing_can_be_kept_it_is_in_memory(cache: Path, tmp_path: Path) -> None:
    cache.mkdir()
    (cache / "programs").touch()
    program = launcher.find()
    assert program.parts[:2] == ("/", "proc")
    assert works(program)
    assert launcher.is_ready()
    assert launcher.find() == program
    assert [*(tmp_path / "temporary").iterdir()] == []


@pytest.mark.usefixtures("cache")
def test_no_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiler, "find_spec", lambda _: None)
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(ConfinementError, match="no C compiler that makes the launcher") as caught:
        launcher.find()
    assert "musl-tools" in caught.value.hint


@pytest.fixture
def children() -> Iterator[list[Child]]:
    """Children that are gone afterwards."""
    made: list[Child] = []
    yield made
    for child in made:
        child.kill()
        child.reap()
        child.close()


def spawned(script: str, children: list[Child]) -> Child:
    """A shell in the launcher's place, whose status is its output."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    with theirs:
        command = ["sh", "-c", script]
        process = subprocess.Popen(command, stdout=theirs.fileno(), start_new_session=True)
    children.append(Child(process, ours))
    return children[-1]


def test_a_launcher_that_makes_no_process(children: list[Child]) -> None:
    child = spawned("echo failed option: --what; exit 125", children)
    assert child.reap() == child.returncode == 125
    assert child.hear().failure == "option: --what"


@pytest.mark.parametrize("script", ["kill -STOP $$", "sleep 60 & kill -STOP $$"])
def test_a_launcher_that_is_stopped_is_killed(script: str, children: list[Child]) -> None:
    child = spawned(script, children)
    begun = time.monotonic()
    child.kill()
    assert child.reap() == -signal.SIGKILL
    assert time.monotonic() - begun < 5


async def test_a_launcher_that_is_killed(children: list[Child]) -> None:
    child = spawned("kill -KILL $$", children)
    status = await child.started()
    assert (status.pid, status.failure) == (None, "")
    assert await child.wait() == -signal.SIGKILL


async def test_what_it_says_is_heard_though_nobody_waits(children: list[Child]) -> None:
    """It comes in the same turn of the loop as the cancellation of who waits for it."""
    child = spawned("echo pid $$; sleep 60", children)
    waiting = asyncio.create_task(child.started())
    while child.status.pid is None:  # noqa: ASYNC110 - the reader is to have it
        await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert child.status.pid == child.pid

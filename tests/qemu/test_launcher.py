"""Tests of the launcher as the library uses it: compiled once, it reports the pid of QEMU."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import socket
import subprocess
import tempfile
import threading
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.confined import confined

from microvm.errors import ConfinementError
from microvm.qemu import launcher
from microvm.qemu.child import Child
from microvm.qemu.confinement import LauncherReport
from microvm.system import compiler


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and a folder for temporary files."""
    folder, temporary = tmp_path / "cache", tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setenv("MICROVM_CACHE", str(folder))
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    return folder


def works(program: Path) -> bool:
    return confined(program, ["--read", "/"], ["/bin/true"]).code == 0


def test_launcher_is_compiled_once(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not launcher.is_ready()
    program = launcher.find()
    assert launcher.is_ready()
    assert program.parent == cache / "programs"
    assert [*program.parent.iterdir()] == [program]
    assert works(program)
    monkeypatch.setattr(compiler, "make", None)
    assert launcher.find() == program


@pytest.mark.parametrize("damage", ["empty", "a byte", "cut"])
def test_damaged_launcher_is_compiled_again(
    cache: Path, monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    monkeypatch.setattr(launcher, "compiled", lambda: b"as compiled" * 100)
    program = launcher.find()
    whole = program.read_bytes()
    middle = len(whole) // 2
    byte = bytes([whole[middle] ^ 1])
    damaged = {
        "empty": b"",
        "a byte": whole[:middle] + byte + whole[middle + 1 :],
        "cut": whole[:-40],
    }
    program.write_bytes(damaged[damage])
    assert not launcher.is_ready()
    assert launcher.find() == program
    assert program.parent == cache / "programs"
    assert program.read_bytes() == whole


@pytest.mark.usefixtures("cache")
def test_fork_works_while_another_thread_compiles() -> None:
    launcher.find()
    with launcher._compiling, warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # a fork in a process with threads
        pid = os.fork()
        if not pid:
            signal.alarm(5)
            launcher.find()
            os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0


def test_launcher_is_in_memory_if_cache_is_read_only(cache: Path, tmp_path: Path) -> None:
    cache.mkdir()
    (cache / "programs").touch()
    program = launcher.find()
    assert program.parts[:2] == ("/", "proc")
    assert works(program)
    assert launcher.is_ready()
    assert launcher.find() == program
    assert [*(tmp_path / "temporary").iterdir()] == []


@pytest.mark.usefixtures("cache")
def test_missing_compiler_is_reported_with_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiler, "find_spec", lambda _: None)
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(
        ConfinementError, match="no C compiler that compiles the launcher"
    ) as caught:
        launcher.find()
    assert "libc6-dev" in caught.value.hint


@pytest.fixture
def children() -> Iterator[list[Child]]:
    """A list of child processes that are killed afterwards."""
    made: list[Child] = []
    yield made
    for child in made:
        child.kill()
        child.reap()
        child.close()


def spawned(script: str, children: list[Child]) -> Child:
    """Start a shell in place of the launcher. Its output is the status."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    with theirs:
        command = ["sh", "-c", script]
        process = subprocess.Popen(command, stdout=theirs.fileno(), start_new_session=True)
    children.append(Child(process, ours))
    return children[-1]


@pytest.mark.parametrize("script", ["kill -STOP $$", "sleep 60 & kill -STOP $$"])
def test_a_launcher_that_is_stopped_is_killed(script: str, children: list[Child]) -> None:
    child = spawned(script, children)
    begun = time.monotonic()
    child.kill()
    assert child.reap() == -signal.SIGKILL
    assert time.monotonic() - begun < 5


async def test_report_is_read_without_waiting(children: list[Child]) -> None:
    """The status arrives in the turn of the loop in which its reader is cancelled."""
    child = spawned("echo pid $$; sleep 60", children)
    waiting = asyncio.create_task(child.started())
    while child.report.pid is None:  # noqa: ASYNC110 - the reader is to have it
        await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert child.report.pid == child.pid


async def test_copied_socket_does_not_delay_the_report(children: list[Child]) -> None:
    child = spawned("sleep 60 & echo failed wrong option; exit 125", children)
    async with asyncio.timeout(5):
        status = await child.started()
    assert (status.failure, await child.wait()) == ("wrong option", 125)


async def test_no_kill_is_lost_while_another_thread_hears_the_launcher(
    children: list[Child], monkeypatch: pytest.MonkeyPatch
) -> None:
    feed = LauncherReport.feed

    def slowly(self: LauncherReport, data: bytes) -> None:
        if threading.current_thread() is threading.main_thread():
            time.sleep(0.2)  # as if it is preempted here
        feed(self, data)

    monkeypatch.setattr(LauncherReport, "feed", slowly)
    child = spawned("echo pid $$; exec sleep 60 > /dev/null", children)

    def kill() -> None:
        time.sleep(0.1)
        child.kill()

    await asyncio.sleep(0.1)
    await asyncio.gather(asyncio.to_thread(kill), child.started())
    async with asyncio.timeout(5):
        assert await child.wait() == -signal.SIGKILL


def file_size(child: Child) -> tuple[int, int]:
    return resource.prlimit(child.pid, resource.RLIMIT_FSIZE)


def test_file_size_limit_is_raised_temporarily(
    children: list[Child], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("microvm.qemu.child.may_raise", lambda: True)
    child = spawned("echo pid $$; exec sleep 60", children)
    before = file_size(child)
    with child.file_size_limit(1 << 20):
        assert file_size(child) == (1 << 20, before[1])
    assert file_size(child) == before


async def test_child_that_others_have_reaped_has_exited(children: list[Child]) -> None:
    """As in a program that ignores SIGCHLD, whose children are reaped at once."""
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        child = spawned("echo pid $$", children)
        await asyncio.sleep(0.1)
        async with asyncio.timeout(5):
            await child.started()
            assert await child.wait() == 0
    finally:
        signal.signal(signal.SIGCHLD, before)

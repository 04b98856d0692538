"""Tests of locks: a waiting process names the holder."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.processes import environment

from microvm.cache import lock
from microvm.errors import ImageError
from microvm.progress import NullReporter

HOLDER = """
import sys
from pathlib import Path
from microvm.cache import lock
with lock.attempt(Path(sys.argv[1])) as ours:
    print(ours, flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "folder" / "thing"


@pytest.fixture
def other(path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the lock."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, path],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment(),
    ) as process:
        assert process.stdout
        assert process.stdout.readline() == "True\n"
        yield process
        process.kill()


class Listener(NullReporter):
    """A reporter that collects notices, and terminates a process with the third one."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.lines: list[str] = []
        self._process = process

    def notice(self, text: str) -> None:
        self.lines.append(text)
        if len(self.lines) == 3:
            self._process.kill()


def test_waiting_process_names_the_holder_repeatedly(
    path: Path, other: subprocess.Popen[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock, "REMINDER", 0.1)
    listener = Listener(other)
    with lock.held(path, listener):
        pass
    assert set(listener.lines) == {f"waiting for process {other.pid}, which makes {path}"}


def test_shared_lock_waits_for_the_holder(
    path: Path, other: subprocess.Popen[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock, "REMINDER", 0.1)
    listener = Listener(other)
    with lock.shared(path, listener), lock.shared(path, listener), lock.attempt(path) as ours:
        assert not ours
    assert set(listener.lines) == {f"waiting for process {other.pid}, which clears {path}"}


def test_stopped_holder_is_named_as_stopped(path: Path, other: subprocess.Popen[str]) -> None:
    assert lock.holder(path) == f"process {other.pid}"
    other.send_signal(signal.SIGSTOP)
    os.waitpid(other.pid, os.WUNTRACED)
    assert lock.holder(path) == f"process {other.pid} (stopped: kill -CONT {other.pid})"
    with lock.attempt(path) as ours:
        assert not ours


@pytest.mark.parametrize("text", ["", "x", "-1\n", "99999999\n"])
def test_unknown_holder_is_another_process(path: Path, text: str) -> None:
    path.parent.mkdir()
    (path.parent / ".thing.lock").write_text(text)
    assert lock.holder(path) in {"another process", f"process {text.strip()}"}


def test_lock_file_of_a_killed_holder_is_no_lock(path: Path, other: subprocess.Popen[str]) -> None:
    other.kill()
    other.wait()
    assert list(path.parent.iterdir()) == [path.parent / ".thing.lock"]
    with lock.attempt(path) as ours:
        assert ours
        assert lock.holder(path) == f"process {os.getpid()}"
    assert not list(path.parent.iterdir())


def test_link_is_refused_as_a_lock(path: Path, tmp_path: Path) -> None:
    (tmp_path / "victim").write_text("precious")
    path.parent.mkdir()
    (path.parent / ".thing.lock").symlink_to(tmp_path / "victim")
    with pytest.raises(ImageError, match="symbolic links"), lock.attempt(path):
        pass
    assert (tmp_path / "victim").read_text() == "precious"

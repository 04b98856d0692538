"""Tests of the list of a user's machines, some of them dead, silent or invalid."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.support.small_disk import small_disk

from microvm.errors import GuestDied, MicroVMError
from microvm.supervisor.client import blocking, machines
from microvm.supervisor.runtime_directory import RuntimeDirectory

# The state of a stopped supervisor: the lock is held, and no process answers.
SILENT = """
import socket, sys
from microvm.supervisor.runtime_directory import RuntimeDirectory
with RuntimeDirectory(make=True) as runtime, runtime.create(sys.argv[1]) as directory:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(directory.path("socket"))
    listener.listen()
    print("here", flush=True)
    sys.stdin.read()
"""

Silence = Callable[[str], subprocess.Popen[str]]


@pytest.fixture
def silence() -> Iterator[Silence]:
    """Start a supervisor that does not answer; it is killed afterwards."""
    begun = []

    def begin(name: str) -> subprocess.Popen[str]:
        child = subprocess.Popen(
            [sys.executable, "-c", SILENT, name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        begun.append(child)
        assert child.stdout
        assert child.stdout.readline() == "here\n"
        return child

    yield begin
    for child in begun:
        child.kill()
        child.communicate()


def leave(runtime: RuntimeDirectory, name: str) -> None:
    with runtime.create(name) as directory:
        os.close(directory.file("log", os.O_WRONLY | os.O_CREAT))


def test_a_silent_supervisor_delays_no_other_stop(
    runtime: RuntimeDirectory, silence: Silence, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blocking, "_INTERVAL", 600.0)
    child = silence("a")
    leave(runtime, "b")
    stopping = machines.stop(None)
    assert next(stopping) == "b"
    child.kill()
    assert list(stopping) == ["a"]
    assert runtime.names() == []


def test_stopping_all_ignores_a_machine_that_vanishes(
    runtime: RuntimeDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    leave(runtime, "a")
    lists = [["a", "b"]]  # b removes its files after it was listed
    names = RuntimeDirectory.names

    def listed(self: RuntimeDirectory, *, pools: bool = False) -> list[str]:
        return lists.pop() if lists else names(self, pools=pools)

    monkeypatch.setattr(RuntimeDirectory, "names", listed)
    assert sorted(machines.stop(None)) == ["a", "b"]
    assert runtime.names() == []


def test_silent_supervisors_are_killed(
    runtime: RuntimeDirectory, silence: Silence, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blocking, "_INTERVAL", 0.01)
    children = [silence(name) for name in ("a", "b")]
    assert sorted(machines.stop(None)) == ["a", "b"]
    assert [child.wait(60) for child in children] == [-9, -9]
    assert runtime.names() == []


def test_stop_accepts_no_abbreviated_name(runtime: RuntimeDirectory) -> None:
    leave(runtime, "build-10")
    with pytest.raises(MicroVMError, match="there is no machine build-1") as caught:
        list(machines.stop(["build-1"]))
    assert caught.value.hint == "did you mean build-10?"
    with pytest.raises(MicroVMError, match="there is no machine build-1"):
        blocking.connect("build-1")
    with pytest.raises(GuestDied, match="machine build-10 is gone"):
        blocking.connect("build-1", beginning=True)
    assert runtime.names() == ["build-10"]


def test_failed_stop_is_reported_after_the_others(runtime: RuntimeDirectory, folder: Path) -> None:
    for name in ("a", "b", "c"):
        leave(runtime, name)
    with small_disk(folder / "a" / "disk", "4k"):  # this folder cannot be removed
        stopping = machines.stop(["a", "none", "b", "c"])
        assert sorted([next(stopping), next(stopping)]) == ["b", "c"]
        with pytest.raises(MicroVMError, match=r"folder of a, .*Device or resource busy"):
            list(stopping)
    with pytest.raises(MicroVMError, match=r"no machine none; there is no machine nothing"):
        list(machines.stop(["none", "nothing"]))


def test_machines_are_listed_beside_missing_ones(runtime: RuntimeDirectory, folder: Path) -> None:
    leave(runtime, "one")
    (folder / "file").touch()
    (folder / "folder" / "more").mkdir(parents=True)
    listed, failure = machines.inspect()
    assert [each["name"] for each in listed] == ["one"]
    assert failure is None
    listed, failure = machines.inspect(["none", "on"])
    assert [each["name"] for each in listed] == ["one"]
    assert str(failure).startswith("there is no machine none")


def test_dead_machine_has_its_reason_and_console(runtime: RuntimeDirectory, folder: Path) -> None:
    leave(runtime, "one")
    (folder / "one" / "console").write_bytes(b"hello\n")
    for _ in range(2):
        [shown], _ = machines.inspect()
        assert (shown["state"], shown["reason"]) == ("gone", "its supervisor was killed")
    assert b"".join(machines.console("one", follow=False)) == b"hello\n"
    assert machines.wait("one")["reason"] == "its supervisor was killed"
    assert list(machines.stop(["one"])) == ["one"]
    assert machines.inspect() == ([], None)


@pytest.mark.parametrize("names", [["one"], None, ["two"]])
def test_long_dead_machine_is_stopped(runtime: RuntimeDirectory, names: list[str] | None) -> None:
    for name in ("one", "two"):
        leave(runtime, name)
    with runtime.open("one") as directory:
        directory.write("ended.json", {**directory.ended(), "at": time.time() - 3601})
    assert sorted(machines.stop(names)) == (names or ["one", "two"])
    assert runtime.names() == (["two"] if names == ["one"] else [])

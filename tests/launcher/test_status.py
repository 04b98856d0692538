"""Tests of the options of the launcher, and of the status that it reports."""

from __future__ import annotations

import fcntl
import os
import signal
import socket
import subprocess
from pathlib import Path

import pytest
from tests.support.confined import NO_CONTROLLER, SYSTEM, USAGE, confined
from tests.support.polling import eventually
from tests.support.processes import children

LAYERS = "user pid net ipc uts mount cgroup ids limits landlock seccomp".split()


def test_launcher_reports_whether_each_layer_holds(launcher: Path) -> None:
    result = confined(launcher, SYSTEM, ["/bin/echo", "here"])
    assert [line.split()[0] for line in result.status] == LAYERS
    assert {line.split()[1] for line in result.status} <= {"ok", "no"}
    assert all(len(line.split()) > 2 for line in result.status if line.split()[1] == "no")
    assert (result.output, result.code, result.failure) == ("here\n", 0, "")


def test_launcher_leaves_out_the_given_layers(launcher: Path) -> None:
    options = [word for layer in LAYERS for word in ("--without", layer)]
    result = confined(launcher, options, ["/bin/true"])
    assert result.status == [f"{layer} no disabled" for layer in LAYERS]
    assert result.code == 0


@pytest.mark.parametrize(
    ("options", "wrong"),
    [
        (["--unknown", "1"], "--unknown"),
        (["--without", "everything"], "--without"),
        (["--read", "relative"], "--read"),
        (["--uid", "4290772991"], "--uid"),  # the next number is 2**32 - 1, which means no pid
        (["--limit", "open-files=18446744073709551616"], "--limit"),
        (["--read", "/"] * 65, "--read"),
    ],
)
def test_unknown_or_invalid_option_is_a_failure(
    launcher: Path, options: list[str], wrong: str
) -> None:
    result = confined(launcher, options, ["/bin/echo", "here"])
    assert result.failure == f"wrong option: {wrong}: {USAGE}"
    assert (result.output, result.pid, result.code) == ("", 0, 125)


def test_failed_execution_is_reported_on_the_status_pipe(launcher: Path, tmp_path: Path) -> None:
    read, write = os.pipe()
    with os.fdopen(read) as said:
        with os.fdopen(write):
            command = [str(launcher), "--status", str(write), "--", str(tmp_path / "gone")]
            spawned = subprocess.Popen(command, pass_fds=[write], stderr=subprocess.DEVNULL)
        pid, *_, last = said.read().splitlines()
    assert spawned.wait() == 0
    assert os.waitstatus_to_exitcode(os.waitpid(int(pid.split()[1]), 0)[1]) == 125
    assert last == f"failed cannot execute {tmp_path}/gone: No such file or directory"


def test_status_ends_despite_copies_of_its_descriptor(launcher: Path) -> None:
    """Another thread of the controller may fork a process that inherits the descriptor."""
    ours, theirs = socket.socketpair()
    ours.settimeout(10)
    with ours, theirs:
        status = str(theirs.fileno())
        command = [str(launcher), "--status", status, *SYSTEM, "--", "/bin/sleep", "60"]
        spawned = subprocess.Popen(command, pass_fds=[theirs.fileno()])
        with ours.makefile() as stream:
            pid = int(stream.readline().split()[1])
            try:
                assert stream.readlines()[-1].startswith("seccomp ")
            finally:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
                spawned.wait()


def test_killed_launcher_is_reported(launcher: Path) -> None:
    read, write = os.pipe()
    with os.fdopen(read, "rb") as stream:
        with os.fdopen(write, "wb", buffering=0) as report:
            # Fill the pipe, so that the first process of the launcher waits for us to read before
            # it sends the pid to the second one.
            report.write(bytes(fcntl.fcntl(write, fcntl.F_GETPIPE_SZ)))
            others = set(children(os.getpid()))
            command = [str(launcher), "--status", str(write), *SYSTEM, "--", "/bin/sleep", "60"]
            spawned = subprocess.Popen(command, pass_fds=[write])
            others.add(spawned.pid)
            eventually(lambda: set(children(os.getpid())) - others)
            (second,) = set(children(os.getpid())) - others
            spawned.kill()
            assert spawned.wait() == -signal.SIGKILL
        assert stream.read().splitlines()[-1] == (
            b"failed cannot confine QEMU: the launcher's first process was killed; "
            b"start the machine again"
        )
    assert os.waitstatus_to_exitcode(os.waitpid(second, 0)[1]) == 125


def test_launcher_refuses_another_controller(launcher: Path) -> None:
    result = confined(launcher, ["--controller", "1"], ["/bin/echo", "here"])
    assert result.failure == NO_CONTROLLER
    assert (result.output, result.pid) == ("", 0)


def test_program_inherits_only_the_listed_descriptors(launcher: Path) -> None:
    read, write = os.pipe()
    with os.fdopen(read), os.fdopen(write):
        program = ["/bin/sh", "-c", "echo /proc/self/fd/*"]
        options = ["--without", "landlock", "--without", "mount"]
        result = confined(launcher, options, program, descriptors=[write])
    found = sorted(int(Path(word).name) for word in result.output.split())
    assert found == [0, 1, 2, 3, write]  # 3 is the descriptor of the listing

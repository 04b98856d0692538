"""Tests of the commands for named machines: `start`, `exec`, `shell`, `ps`, `stop` and others."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import termios
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pexpect
import pytest
from tests.support.ctrl_c import check_ctrl_c_ends_a_shell_loop, interrupt_again_until_end
from tests.support.examples import EXAMPLES, check
from tests.support.polling import eventually
from tests.support.processes import ObservedProcess, is_alive, open_files
from tests.vm.conftest import Begin, Command, Misbehave

from microvm import __version__
from microvm.errors import GuestUnresponsive, UsageError
from microvm.supervisor import wire
from microvm.supervisor.client import blocking, machines, protocol

NAME = "one"
BYTES = bytes(range(256)) * 1000


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """The runtime folder of this module's machines."""
    with tempfile.TemporaryDirectory() as path:
        yield Path(path)


@pytest.fixture(autouse=True)
def _home(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(folder))


@pytest.fixture(scope="module")
def machine(microvm: Command, folder: Path) -> Iterator[str]:
    """The name of a machine that the tests share. Each test leaves it as it was."""
    env = {**os.environ, "XDG_RUNTIME_DIR": str(folder)}
    microvm("run", "--", "true", env=env)  # if KVM is broken here, this prints a notice once
    started = microvm("start", NAME, "--commands=1", env=env)
    assert (started.returncode, started.stdout, started.stderr) == (0, b"one\n", b"")
    yield NAME
    stopped = microvm("stop", "--all", env=env)
    assert (stopped.returncode, stopped.stderr) == (0, b"")
    assert list((folder / "microvm").iterdir()) == []


@pytest.fixture
def begin(machine: str, begin: Begin) -> Begin:
    """Return the function of the fixture `begin`, for the machine that the tests share."""
    return partial(begin, machine)


def facts(microvm: Command, name: str = NAME) -> dict[str, Any]:
    [found] = json.loads(microvm("inspect", "--json", name).stdout)
    assert isinstance(found, dict)
    return found


@pytest.mark.thorough
def test_listing_has_the_documented_fields(microvm: Command, machine: str) -> None:
    for verb in (["ps"], ["inspect", NAME]):
        found = json.loads(microvm(*verb, "--json").stdout)
        check(json.loads(EXAMPLES["microvm ps --json"]), found, verb[0])


def states(microvm: Command) -> dict[str, str]:
    return {each["name"]: each["state"] for each in json.loads(microvm("ps", "--json").stdout)}


def runs(microvm: Command) -> str:
    """Return the commands that run in the shared machine."""
    return str(facts(microvm)["runs"])


@pytest.mark.parametrize("options", [(), ("-e", "A=1")], ids=["plain", "with options"])
@pytest.mark.parametrize(
    ("script", "status", "says"),
    [
        ("echo out; echo err >&2; exit 7", 7, b"err\n"),
        ("kill -9 $$", 137, b""),
        ("exec nonexistent", 127, b"sh: exec: line 0: nonexistent: not found\n"),
    ],
)
def test_exec_has_the_status_of_the_command(
    microvm: Command, machine: str, options: tuple[str, ...], script: str, status: int, says: bytes
) -> None:
    done = microvm("exec", *options, machine, "--", "sh", "-c", script)
    assert (done.returncode, done.stderr) == (status, says)
    assert done.stdout == (b"out\n" if status == 7 else b"")


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("arguments", "status", "says"),
    [
        (["exec", "--timeout", "10ms", NAME, "sleep", "9"], 124, "sleep: timed out after 0.01 s"),
        (["exec", "two", "true"], 125, "there is no machine two (`microvm ps` lists all machines)"),
        (
            ["start", NAME],
            125,
            "there is a machine one already (choose another name, or end it: `microvm stop one`)",
        ),
        (["stop", "on"], 125, "there is no machine on (did you mean one?)"),
        (["checkpoint", "on", "kept"], 125, "there is no machine on (did you mean one?)"),
    ],
)
def test_errors_are_reported_with_their_status(
    microvm: Command, machine: str, arguments: list[str], status: int, says: str
) -> None:
    assert machine == NAME
    done = microvm(*arguments)
    assert done.returncode == status
    assert done.stderr.decode().startswith(f"microvm: {says}")


def test_bytes_pass_unchanged_in_both_directions(microvm: Command, machine: str) -> None:
    assert microvm("exec", machine, "cat", input=BYTES).stdout == BYTES
    assert microvm("exec", "-n", machine, "cat", input=BYTES).stdout == b""
    assert microvm("exec", machine, "echo", b"\xff\xfe", "").stdout == b"\xff\xfe \n"


def test_input_that_is_not_read_is_no_error(machine: str) -> None:
    script = f"yes | {sys.executable} -m microvm exec {machine} -- head -1; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", script], capture_output=True, check=True)
    assert done.stdout == b"y\n141\n"  # 128 + SIGPIPE


def test_closed_output_ends_exec_and_not_the_machine(microvm: Command, machine: str) -> None:
    script = f"{sys.executable} -m microvm exec {machine} -- yes | head -1; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", script], capture_output=True, check=True)
    assert (done.stdout, done.stderr) == (b"y\n141\n", b"")
    assert microvm("exec", machine, "true").returncode == 0


@pytest.mark.parametrize(
    ("redirection", "status", "says"),
    [
        ("<&- >&- 2>&-", 3, b""),
        (
            ">/dev/full",
            125,
            b"microvm: cannot write the command's output: No space left on device\n",
        ),
    ],
)
def test_exec_works_with_closed_streams(
    machine: str, redirection: str, status: int, says: bytes
) -> None:
    script = f"{sys.executable} -m microvm exec {machine} sh -c 'echo; exit 3' {redirection}"
    done = subprocess.run(["sh", "-c", script], capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (status, says)


def test_options_reach_the_command(microvm: Command, machine: str) -> None:
    script = "echo $A $(pwd) $(id -un)"
    given = ("-e", "A=1 2", "-w", "/tmp", "-u", "nobody")
    assert microvm("exec", *given, machine, "sh", "-c", script).stdout == b"1 2 /tmp nobody\n"


def test_a_shell_has_a_terminal(machine: str) -> None:
    child = pexpect.spawn(sys.executable, ["-m", "microvm", "shell", machine], timeout=60)
    child.sendline("echo $0 $HOME; exit 5")
    child.expect_exact("/bin/sh /root\r\n")
    child.expect(pexpect.EOF)
    assert child.wait() == 5


def test_files_and_processes_of_a_command_stay(microvm: Command, machine: str) -> None:
    script = "echo kept > /tmp/file; sleep 1000 >/dev/null 2>&1 & echo $!"
    pid = microvm("exec", machine, "sh", "-c", script).stdout.strip().decode()
    script = f"cat /tmp/file; kill {pid} && echo killed"
    assert microvm("exec", machine, "sh", "-c", script).stdout == b"kept\nkilled\n"


def test_first_ctrl_c_reaches_the_command_and_second_ends_us(
    microvm: Command, machine: str, begin: Begin
) -> None:
    script = "trap 'echo caught' INT; echo begun; while :; do sleep 0.01; done"
    child = begin(script, says=b"begun\n")
    assert child.stdout
    caught = 0
    while child.poll() is None:
        child.send_signal(signal.SIGINT)
        if not (said := child.stdout.readline()):
            break
        assert said == b"caught\n"
        caught += 1  # several lines if this takes more than a second
    assert caught > 0
    assert child.wait(60) == -signal.SIGINT  # a shell reports this status as 130
    assert microvm("exec", machine, "true").returncode == 0


def test_ctrl_c_during_the_start_reaches_the_command(microvm: Command, begin: Begin) -> None:
    """Stop the client while its command starts and writes: its Ctrl-C is for the command."""
    first = begin("echo first; sleep 1000", says=b"first\n")
    child = begin("trap 'echo caught; exit 5' INT; echo begun; sleep 1000 & wait", "--wait")
    eventually(lambda: facts(microvm)["waiting"] == 1)
    child.send_signal(signal.SIGSTOP)
    first.kill()
    assert child.stdout
    assert child.stdout.readline() == b"begun\n"
    child.send_signal(signal.SIGINT)
    child.send_signal(signal.SIGCONT)
    assert child.stdout.read() == b"caught\n"
    assert child.wait(60) == 5


SLOW_CLIENT = """
import os, signal, sys
from microvm.__main__ import main
from microvm.supervisor.client.blocking import BlockingConnection

def send(connection, line, descriptors=()):
    sent(connection, line, descriptors)
    if descriptors:
        os.read(until, 1)
        signal.raise_signal(signal.SIGINT)

until = int(sys.argv.pop(1))
sent, BlockingConnection.send = BlockingConnection.send, send
main()
"""


def test_ctrl_c_while_the_request_is_sent_is_the_commands(machine: str) -> None:
    """The command runs before the call that sends the request returns to the client."""
    read, write = os.pipe()
    script = "trap 'echo caught; exit 5' INT; echo begun; sleep 1000 & wait"
    command = [sys.executable, "-c", SLOW_CLIENT, str(read), "exec", machine, "sh", "-c", script]
    with subprocess.Popen(command, stdout=subprocess.PIPE, pass_fds=[read]) as child:
        assert child.stdout
        assert child.stdout.readline() == b"begun\n"
        os.write(write, b"x")
        assert child.stdout.read() == b"caught\n"
    assert child.returncode == 5
    os.close(read)
    os.close(write)


def test_ctrl_c_ends_a_client_that_waits_for_the_machine(microvm: Command, begin: Begin) -> None:
    first = begin("echo first; sleep 1000", says=b"first\n")
    child = begin("echo begun", "--wait")
    eventually(lambda: facts(microvm)["waiting"] == 1)
    child.send_signal(signal.SIGINT)
    assert child.communicate(timeout=60) == (b"", b"")
    assert child.returncode == -signal.SIGINT
    assert facts(microvm)["waiting"] == 0
    first.kill()


def test_command_that_wants_a_network_is_explained(microvm: Command, machine: str) -> None:
    command = "exec", machine, "--", "wget", "http://example.org/"
    done = microvm(*command)
    says = b"wget: bad address 'example.org'\n"
    hint = b"microvm: a machine has no network: copy files into it with `microvm cp`, "
    assert (done.returncode, done.stderr.startswith(says + hint)) == (1, True)
    assert done.stderr.count(b"\n") == 2
    in_shell = microvm("exec", machine, "--", "sh", "-c", "wget http://example.org/ || true")
    assert (in_shell.returncode, in_shell.stderr) == (0, says)


def test_program_that_only_the_host_has_is_explained(microvm: Command, machine: str) -> None:
    here = b"(it exists on this host, but a guest sees no files of the host: copy it with "
    here += b"`microvm cp`)\n"
    for arguments, says in (
        (
            (machine, "python3"),
            "(the image python has it: `microvm run --image python -- python3 …`)\n".encode(),
        ),
        ((machine, __file__), here),
        (("-w", __file__, machine, "true"), here),
    ):
        said = microvm("exec", *arguments).stderr
        assert said.startswith(b"microvm: ")
        assert said.endswith(says)


@pytest.mark.thorough
def test_hints_about_t_and_second_ctrl_c_are_shown(machine: str) -> None:
    command = ["-m", "microvm", "exec", "-u", "root", machine]
    with pexpect.spawn(sys.executable, [*command, "sh"], timeout=60) as shell:
        shell.expect_exact(f": type `microvm exec -t -u root {machine} sh`")
        shell.expect(pexpect.EOF)
    with pexpect.spawn(sys.executable, [*command, "true"], timeout=60) as quiet:
        quiet.expect(pexpect.EOF)
        assert quiet.before == b""
    script = "trap '' INT; echo ready; while :; do sleep 0.1; done"
    with pexpect.spawn(sys.executable, [*command, "sh", "-c", script], timeout=60) as goes_on:
        goes_on.expect("ready")
        goes_on.sendcontrol("c")
        goes_on.expect_exact("press Ctrl-C twice within a second to kill it")
        interrupt_again_until_end(goes_on)
        assert goes_on.signalstatus == signal.SIGINT


@pytest.mark.parametrize("options", [(), ("-e", "A=1")])
def test_ctrl_c_also_ends_the_loop_of_the_calling_shell(
    machine: str, options: tuple[str, ...]
) -> None:
    command = [sys.executable, "-m", "microvm", "exec", *options, machine, "--", "sh", "-c"]
    check_ctrl_c_ends_a_shell_loop([*command, "echo begun; exec sleep 1001"])


@pytest.mark.thorough
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_killed_client_ends_its_command(
    microvm: Command, begin: Begin, number: signal.Signals
) -> None:
    child = begin("echo begun; exec sleep 1001", says=b"begun\n")
    assert runs(microvm) == "sh -c 'echo begun; exec sleep 1001'"
    child.send_signal(number)
    assert child.wait(60) == (-9 if number == signal.SIGKILL else 128 + number)
    assert microvm("exec", "--wait", NAME, "pgrep", "-f", "sleep 1001").stdout == b""


def test_client_that_never_reads_does_not_delay_a_listing(microvm: Command, begin: Begin) -> None:
    child = begin("yes")
    eventually(lambda: runs(microvm) == "sh -c yes")
    refused = microvm("exec", NAME, "true")
    assert refused.returncode == 125
    assert refused.stderr.startswith(b"microvm: machine one is busy: sh -c yes (--wait, ")
    waits = begin("echo second", "--wait")
    eventually(lambda: facts(microvm)["waiting"] == 1)
    child.kill()
    assert waits.communicate()[0] == b"second\n"


def test_exec_with_t_gives_the_command_the_terminal(machine: str) -> None:
    command = ["-m", "microvm", "exec", "-t", machine, "sh", "-c", "stty size; read x; stty size"]
    child = pexpect.spawn(sys.executable, command, timeout=60, dimensions=(31, 97))
    child.expect_exact("31 97\r\n")
    assert not termios.tcgetattr(child.child_fd)[3] & termios.ICANON
    child.setwinsize(12, 34)
    child.sendline()
    child.expect_exact("12 34\r\n")
    child.expect(pexpect.EOF)
    assert child.wait() == 0


def test_nothing_is_written_to_a_terminal_before_it_is_ready(machine: str) -> None:
    reader, writer = os.pipe()
    options = {"tty": [24, 80], "stdin": subprocess.PIPE}
    null = Path(os.devnull)
    with blocking.connect(machine) as connection, null.open("r+b") as nothing, os.fdopen(reader):

        def say_the_size(event: str, _: object) -> None:
            assert event == "started"
            assert not select.select([reader], [], [], 0.3)[0]
            connection.send(protocol.resize(12, 34))

        request = {"argv": ["sh", "-c", "echo here"], "options": options, "sized": True}
        descriptors = (nothing.fileno(), writer, writer)
        ended = connection.ask("exec", descriptors, say_the_size, **request)
        assert ended["returncode"] == 0
        assert os.read(reader, 100) == b"here\r\n"
    os.close(writer)


@pytest.mark.thorough
def test_supervisor_inherits_nothing_of_its_starter(
    microvm: Command, machine: str, tmp_path: Path
) -> None:
    with (tmp_path / "file").open("wb") as file:
        started = microvm("start", "two", cwd=tmp_path, pass_fds=[file.fileno()], umask=0o777)
    assert (started.stdout, started.stderr) == (b"two\n", b"")
    found = facts(microvm, "two")
    pid = found["supervisor"]
    assert os.getsid(pid) == pid
    assert Path(f"/proc/{pid}/cwd").readlink() == Path("/")
    assert not any(str(tmp_path) in path for path in open_files(pid).values())
    os.kill(pid, signal.SIGHUP)  # as when a session ends
    assert microvm("exec", "tw", "echo", "here").stdout == b"here\n"
    assert states(microvm) == {machine: "running", "two": "running"}
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    eventually(lambda: not is_alive(found["qemu"]))
    assert microvm("exec", "two", "true").stderr.startswith(
        b"microvm: machine two is gone: its supervisor was killed"
    )
    assert states(microvm) == {machine: "running", "two": "gone"}
    assert microvm("stop", "two").stdout == b"two\n"
    assert states(microvm) == {machine: "running"}


@pytest.mark.thorough
def test_dead_machine_reports_the_reason(microvm: Command, machine: str) -> None:
    assert microvm("start", "two").returncode == 0
    waiting = subprocess.Popen(
        [sys.executable, "-m", "microvm", "wait", "two"], stderr=subprocess.PIPE
    )
    follows = subprocess.Popen(
        [sys.executable, "-m", "microvm", "logs", "-f", "two"], stdout=subprocess.PIPE
    )
    said = microvm(
        "exec", "two", "sh", "-c", "echo hello >/dev/console; echo c >/proc/sysrq-trigger"
    )
    reason = b"machine two is gone: the guest kernel crashed: Kernel panic - not syncing: sysrq"
    assert said.returncode == 125
    assert said.stderr.startswith(b"microvm: " + reason)
    assert waiting.communicate(timeout=60)[1].startswith(b"microvm: " + reason)
    assert waiting.returncode == 125
    assert b"hello\r\n" in follows.communicate(timeout=60)[0]
    assert b"hello\r\n" in microvm("logs", "two").stdout
    shown = microvm("ps").stdout.decode().splitlines()
    assert shown[0].split() == ["NAME", "STATE", "IMAGE", "STARTED", "MEMORY", "CPU", "RUNS"]
    assert "the guest kernel crashed" in shown[2]
    assert b"hello\r\n" in microvm("logs", "two").stdout
    assert microvm("stop", "two").stdout == b"two\n"
    assert states(microvm) == {machine: "running"}


@pytest.mark.thorough
def test_machine_ends_after_its_lifetime(microvm: Command) -> None:
    for name, option, reason in (
        ("idle", "--idle-timeout", "nobody used it for 0.05 s"),
        ("old", "--max-age", "it has reached its maximum age of 0.05 s"),
    ):
        assert microvm("start", name, option, "50ms").returncode == 0
        assert microvm("wait", name).returncode == 0
        assert facts(microvm, name)["reason"] == reason
        assert microvm("stop", name).stdout.decode() == f"{name}\n"


@pytest.mark.thorough
@pytest.mark.parametrize("removed", ["two", "two/socket"])
def test_machine_whose_folder_is_removed_ends(
    microvm: Command, machine: str, folder: Path, removed: str
) -> None:
    assert microvm("start", "two").returncode == 0
    found = facts(microvm, "two")
    path = folder / "microvm" / removed
    subprocess.run(["rm", "-r", path], check=True)
    eventually(lambda: not is_alive(found["qemu"]))
    if removed == "two":
        assert states(microvm) == {machine: "running"}
    else:
        eventually(lambda: states(microvm)["two"] == "gone")
        assert facts(microvm, "two")["reason"] == "its socket was removed"
        assert microvm("stop", "two").stdout == b"two\n"


@pytest.mark.thorough
def test_a_start_that_fails_leaves_nothing(
    microvm: Command, unbootable: Path, folder: Path
) -> None:
    failed = microvm("start", "two", "--image", str(unbootable), "--cold")
    assert failed.returncode == 125
    assert failed.stdout == b""
    assert failed.stderr.startswith(b"microvm: the guest did not boot: ")
    assert not (folder / "microvm" / "two").exists()
    assert microvm("start", "two", "--from", "nothing").returncode == 125
    assert not (folder / "microvm" / "two").exists()


@pytest.mark.thorough
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_start_that_is_ended_leaves_nothing(
    misbehave: Misbehave, microvm: Command, folder: Path, number: signal.Signals
) -> None:
    reached = misbehave("touch $(dirname $0)/reached; exec sleep 1000") / "reached"
    child = subprocess.Popen(
        [sys.executable, "-m", "microvm", "start", "two", "--confinement=off"],
        stderr=subprocess.DEVNULL,
    )
    eventually(reached.exists)
    [supervisor] = _supervisors(folder, "two")
    if number == signal.SIGINT:
        assert microvm("start", "two").stderr.startswith(b"microvm: there is a machine two already")
        assert states(microvm)["two"] == "starting"
        refused = microvm("exec", "two", "true")
        assert refused.stderr.startswith(b"microvm: machine two is busy: its start")
    child.send_signal(number)
    assert child.wait(60) == (128 + number if number == signal.SIGTERM else -number)
    eventually(lambda: not supervisor.is_alive())
    assert not (folder / "microvm" / "two").exists()


def _supervisors(folder: Path, name: str) -> list[ObservedProcess]:
    """Return the supervisors of a machine in this runtime folder; other runs may have their own."""
    found = []
    variable = f"XDG_RUNTIME_DIR={folder}".encode()
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            words = (process / "cmdline").read_bytes().split(b"\0")
            variables = (process / "environ").read_bytes().split(b"\0")
            if {b"microvm.supervisor", name.encode()} <= {*words} and variable in variables:
                found.append(ObservedProcess.of(int(process.name)))
    return found


def test_input_that_blocks_without_events_delays_nothing(microvm: Command, machine: str) -> None:
    """A read of an eventfd(2) blocks until its count is above 0."""
    counter = os.eventfd(0)
    with os.fdopen(counter):
        command = [sys.executable, "-m", "microvm", "exec", machine, "--", "head", "-c", "8"]
        with subprocess.Popen(command, stdin=counter, stdout=subprocess.PIPE) as waits:
            try:
                eventually(lambda: "head" in runs(microvm))
                os.eventfd_write(counter, 7)
                assert waits.communicate(timeout=60)[0] == (7).to_bytes(8, sys.byteorder)
            finally:
                waits.kill()


@pytest.mark.parametrize("verb", [("exec", NAME), ("run",)], ids=["exec", "run"])
def test_write_end_of_a_pipe_counts_as_empty_input(
    microvm: Command, machine: str, verb: tuple[str, ...]
) -> None:
    source, sink = os.pipe()
    with os.fdopen(source), os.fdopen(sink):
        done = microvm(*verb, "--", "cat", stdin=sink, timeout=120)
    assert (done.returncode, done.stdout) == (0, b"")


@pytest.mark.parametrize("size", [1, 2 << 20], ids=["short", "long"])
def test_call_to_a_stopped_supervisor_reports_it(
    microvm: Command, machine: str, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The request is longer than the buffer of the socket."""
    monkeypatch.setattr(blocking, "_INTERVAL", 0.01)
    monkeypatch.setattr(blocking, "_SEND_TIMEOUT", 0.1)
    supervisor = facts(microvm)["supervisor"]
    os.kill(supervisor, signal.SIGSTOP)
    try:
        with blocking.connect(machine) as connection, pytest.raises(GuestUnresponsive) as caught:
            connection.ask("exec", argv=["x" * size])
    finally:
        os.kill(supervisor, signal.SIGCONT)
    assert f"a signal has stopped process {supervisor}" in caught.value.message
    assert f"kill -CONT {supervisor}" in caught.value.hint
    assert microvm("exec", "--wait", machine, "true").returncode == 0


def test_stopped_supervisor_is_listed_and_can_be_ended(
    microvm: Command, machine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert microvm("start", "two").returncode == 0
    os.kill(facts(microvm, "two")["supervisor"], signal.SIGSTOP)
    monkeypatch.setattr(machines, "ANSWER_TIMEOUT", 0.1)
    assert [each["state"] for each in machines.inspect(["two"])[0]] == ["silent"]
    monkeypatch.setattr(blocking, "_INTERVAL", 0.01)
    assert list(machines.stop(["two"])) == ["two"]
    assert states(microvm) == {machine: "running"}


def test_machine_of_another_version_is_listed_but_only_stopped(
    microvm: Command, machine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert microvm("start", "two").returncode == 0
    monkeypatch.setattr(wire, "WIRE", wire.WIRE + 1)
    with (
        blocking.connect("two") as connection,
        pytest.raises(UsageError, match="wire has version 1"),
    ):
        connection.ask("facts")
    [shown], _ = machines.inspect(["two"])
    assert (shown["state"], shown["version"]) == ("running", __version__)
    assert list(machines.stop(["two"])) == ["two"]
    assert states(microvm) == {machine: "running"}

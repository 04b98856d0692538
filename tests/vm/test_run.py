"""Tests of the command `microvm run`."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from subprocess import PIPE

import pytest
from tests.support.polling import eventually
from tests.support.processes import children, exists
from tests.vm.conftest import Command

from microvm.images import Image

ZEROS = "head -c 1025 /dev/zero"
KILLED = "wrote more than 1K, and was killed"


@pytest.mark.parametrize(
    ("arguments", "status", "out", "err"),
    [
        (["--", "echo", "hello"], 0, b"hello\n", b""),
        (["--", "sh", "-c", "echo out; echo err >&2; exit 7"], 7, b"out\n", b"err\n"),
        (["--", "cat"], 0, b"input", b""),
        (["-n", "--", "cat"], 0, b"", b""),
        (["echo", "-v", "--help"], 0, b"-v --help\n", b""),
    ],
)
def test_streams_and_status_are_those_of_the_command(
    microvm: Command, arguments: list[str], status: int, out: bytes, err: bytes
) -> None:
    result = microvm("run", *arguments, input=b"input")
    assert (result.returncode, result.stdout, result.stderr) == (status, out, err)


@pytest.mark.parametrize(
    ("arguments", "status", "says"),
    [
        (["--", "\x1b[31mx"], 127, "\\x1b[31mx: not found in the guest's PATH"),
        (["--", "/etc"], 126, "/etc: Permission denied"),
        (["--", "sh", "-c", "kill -9 $$"], 137, ""),
    ],
)
def test_failed_start_or_signal_is_reported(
    microvm: Command, arguments: list[str], status: int, says: str
) -> None:
    result = microvm("run", *arguments)
    assert (result.returncode, result.stdout) == (status, b"")
    assert result.stderr.decode() == (says and f"microvm: {says}\n")


def test_command_has_the_given_environment_and_folder(microvm: Command) -> None:
    script = 'echo "$A|$B|$HOME|$SECRET|$(pwd)"'
    host = {**os.environ, "SECRET": "of the host"}
    options = ("-e", "A=1 2", "--env", "B=x=y", "-w", "/tmp")
    result = microvm("run", *options, "--", "sh", "-c", script, env=host)
    assert result.stdout == b"1 2|x=y|/root||/tmp\n"


@pytest.mark.parametrize(
    ("options", "script", "status", "out", "says"),
    [
        (["--timeout", "3"], "echo so far; sleep 60", 124, b"so far\n", "timed out after 3 s"),
        (["--max-output", "1K", "--timeout", "1m"], ZEROS, 122, bytes(1024), KILLED),
        (
            ["--max-memory", "20M"],
            "head -c 60m /dev/zero | tail -c 60m",
            137,
            b"",
            "took more than 20M of memory, and was killed",
        ),
    ],
)
def test_command_that_exceeds_a_limit_is_killed(
    microvm: Command, options: list[str], script: str, status: int, out: bytes, says: str
) -> None:
    result = microvm("run", *options, "--", "sh", "-c", script)
    assert (result.returncode, result.stdout) == (status, out)
    message, _, _ = result.stderr.decode().partition(" (")  # a hint may follow
    assert message.rstrip("\n") == f"microvm: sh: {says}"


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("command", "says"),
    [
        ("poweroff -f", b"microvm: the guest powered off"),
        ("reboot -f", b"microvm: the guest rebooted or powered off"),
        (
            "echo c >/proc/sysrq-trigger",
            b"microvm: the guest kernel crashed: Kernel panic - not syncing: sysrq triggered crash",
        ),
    ],
)
def test_a_guest_that_ends_is_an_error_soon(
    microvm: Command, image: Image, command: str, says: bytes
) -> None:
    if image.manifest.bus == "mmio":  # without ACPI, only a reset ends the guest
        says = says.replace(b"guest powered off", b"guest rebooted or powered off")
    # Use the path, because the default image changes if another test compiles a small kernel.
    result = microvm("run", "--image", str(image.path), "--", "sh", "-c", command)
    said, _, to_do = result.stderr.partition(b" (")
    assert (result.returncode, said) == (125, says)
    assert b"--console" in to_do


def test_console_is_written_to_a_file(microvm: Command, tmp_path: Path) -> None:
    log = tmp_path / "console"
    script = "echo hello from the guest >/dev/console"
    assert microvm("run", "--console", str(log), "--", "sh", "-c", script).returncode == 0
    assert b"hello from the guest" in log.read_bytes()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--grace", "1"], "--timeout"),
        (["--image", "no-such-image"], "microvm image ls"),
        ([], "CMD"),
    ],
)
def test_wrong_option_or_missing_command_is_refused(
    microvm: Command, options: list[str], says: str
) -> None:
    result = microvm("run", *options, *(["--", "true"] if options else []))
    assert result.returncode == (125 if "--image" in options else 2)
    assert says in result.stderr.decode()
    assert b"Traceback" not in result.stderr


@pytest.mark.thorough
def test_a_guest_that_does_not_boot_shows_its_console(microvm: Command, unbootable: Path) -> None:
    result = microvm("run", "--image", str(unbootable), "--", "true")
    assert result.returncode == 125
    assert result.stderr.startswith(b"microvm: the guest did not boot: the guest kernel crashed")
    assert b"the end of the guest's console" in result.stderr


def _start(*arguments: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "microvm", "run", "--", *arguments]
    return subprocess.Popen(command, stdin=PIPE, stdout=PIPE, stderr=PIPE, start_new_session=True)


def _end(process: subprocess.Popen[bytes]) -> tuple[bytes, bytes]:
    """Wait until the command exits; none of its child processes may remain."""
    try:
        return process.communicate(timeout=60)
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()


def _wait_for(line: bytes, process: subprocess.Popen[bytes]) -> list[int]:
    assert process.stdout is not None
    assert process.stdout.readline() == line
    return children(process.pid)


def test_output_is_streamed_and_ctrl_c_reaches_the_command() -> None:
    script = "trap 'echo caught; exit 3' INT; echo started; while :; do sleep 0.1; done"
    process = _start("sh", "-c", script)
    _wait_for(b"started\n", process)
    process.send_signal(signal.SIGINT)
    assert _end(process) == (b"caught\n", b"")
    assert process.returncode == 3


def test_a_second_ctrl_c_ends_the_machine() -> None:
    script = "trap 'echo caught' INT; echo started; while :; do sleep 0.1; done"
    process = _start("sh", "-c", script)
    pids = _wait_for(b"started\n", process)
    assert process.stdout is not None
    process.send_signal(signal.SIGINT)
    # The next one follows within the second, unless the host is very busy.
    for _ in range(10):
        if process.stdout.readline() != b"caught\n":
            break
        process.send_signal(signal.SIGINT)
    _end(process)
    assert process.returncode == -signal.SIGINT  # a shell reports this status as 130
    assert pids
    eventually(lambda: not any(map(exists, pids)))


@pytest.mark.thorough
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_qemu_ends_with_its_controller(number: signal.Signals) -> None:
    process = _start("sh", "-c", "echo started; sleep 60")
    pids = _wait_for(b"started\n", process)
    process.send_signal(number)
    _end(process)
    assert process.returncode == (-number if number == signal.SIGKILL else 128 + number)
    assert pids
    eventually(lambda: not any(map(exists, pids)))


def test_closed_output_ends_the_command() -> None:
    process = _start("yes")
    pids = _wait_for(b"y\n", process)
    assert process.stdout is not None
    process.stdout.close()
    process.stdout = None
    assert _end(process)[1] == b""
    assert process.returncode == 128 + signal.SIGPIPE
    eventually(lambda: not any(map(exists, pids)))


@pytest.mark.parametrize(
    ("shell", "status", "out", "says"),
    [
        ("-- cat <&-", 0, b"", b""),
        ("-- echo hi >&-", 0, b"", b""),
        ('-- sh -c "echo out; echo err >&2" 2>&-', 0, b"out\n", b""),
        (
            "-- echo hi >/dev/full",
            125,
            b"",
            b"microvm: cannot write the command's output: No space left on device\n",
        ),
    ],
)
def test_run_works_with_closed_or_full_streams(
    shell: str, status: int, out: bytes, says: bytes
) -> None:
    command = ["sh", "-c", f'"$@" run {shell}', "sh", sys.executable, "-m", "microvm"]
    result = subprocess.run(command, capture_output=True, timeout=60, check=False)
    assert (result.returncode, result.stdout) == (status, out)
    assert result.stderr.startswith(says)
    assert b"Traceback" not in result.stderr


@pytest.mark.thorough
@pytest.mark.parametrize("limit", ["--timeout", "a signal"])
def test_run_ends_although_its_output_is_not_read(tmp_path: Path, limit: str) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    options = ["--timeout", "1"] if limit == "--timeout" else []
    command = [sys.executable, "-m", "microvm", "run", "-v", *options, "--", "yes"]
    with pipe.open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=PIPE)
    assert process.stderr is not None
    assert any(b"start: cloned under" in line for line in process.stderr)
    if not options:
        process.terminate()
    assert process.wait(timeout=60) == (124 if options else 128 + signal.SIGTERM)
    assert b"Traceback" not in process.stderr.read()
    process.stderr.close()
    os.close(reader)


def test_ctrl_c_before_main_ends_the_process_by_sigint() -> None:
    script = "import microvm.__main__, signal; signal.raise_signal(signal.SIGINT)"
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, check=False)
    assert (result.returncode, result.stdout, result.stderr) == (-signal.SIGINT, b"", b"")


@pytest.mark.thorough
@pytest.mark.parametrize("delay", [0.0, 0.2])
def test_early_ctrl_c_ends_silently_by_sigint(delay: float) -> None:
    script = "import microvm.__main__ as m; print('begun', flush=True); m.main()"
    command = [sys.executable, "-c", script, "run", "--", "sleep", "60"]
    with subprocess.Popen(command, stdout=PIPE, stderr=PIPE) as process:
        _wait_for(b"begun\n", process)
        time.sleep(delay)  # at an unknown point of the start
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=60) == (b"", b"")
        assert process.returncode == -signal.SIGINT


@pytest.mark.thorough
@pytest.mark.parametrize("name", ["HUP", "INT"])
def test_signals_ignored_at_the_start_stay_ignored(name: str) -> None:
    ignoring = ["sh", "-c", f'trap "" {name}; exec "$@"', "sh"]
    command = [*ignoring, sys.executable, "-m", "microvm", "run", "--", "sh", "-c"]
    command.append("echo begun; read x; echo $x")
    with subprocess.Popen(command, stdin=PIPE, stdout=PIPE, stderr=PIPE) as process:
        _wait_for(b"begun\n", process)
        process.send_signal(getattr(signal, f"SIG{name}"))
        assert process.communicate(b"still here\n", timeout=60) == (b"still here\n", b"")
        assert process.returncode == 0

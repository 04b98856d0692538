"""Tests of `microvm run -t` in a real pseudo-terminal."""

from __future__ import annotations

import json
import os
import signal
import sys
import termios
from collections.abc import Callable, Iterator

import pexpect
import pytest
from tests.support.ctrl_c import check_ctrl_c_ends_a_shell_loop, interrupt_again_until_end
from tests.support.processes import children

Run = Callable[..., "pexpect.spawn[bytes]"]


@pytest.fixture
def run() -> Iterator[Run]:
    """Start `microvm run` in a terminal of 31 lines and 97 columns."""
    started = []

    def start(*arguments: str) -> pexpect.spawn[bytes]:
        command = ["-m", "microvm", "run", *arguments]
        child: pexpect.spawn[bytes] = pexpect.spawn(
            sys.executable, command, timeout=60, dimensions=(31, 97)
        )
        started.append(child)
        return child

    yield start
    for child in started:
        child.close(force=True)


def _is_raw(child: pexpect.spawn[bytes]) -> bool:
    """Return True if the terminal has no echo, no line mode, and no keys for signals."""
    flags: int = termios.tcgetattr(child.child_fd)[3]
    return not flags & (termios.ECHO | termios.ICANON | termios.ISIG)


def _is_as_new(child: pexpect.spawn[bytes]) -> bool:
    """Return True if every setting of the terminal has its initial value."""
    ours, theirs = os.openpty()
    new = termios.tcgetattr(theirs)
    os.close(ours)
    os.close(theirs)
    return termios.tcgetattr(child.child_fd) == new


def _ended(child: pexpect.spawn[bytes]) -> int | None:
    child.expect(pexpect.EOF)
    child.wait()
    status: int | None = child.exitstatus
    return status


def test_a_shell_has_a_terminal_of_the_right_size_and_kind(run: Run) -> None:
    child = run("-t", "--", "sh")
    child.expect("# ")
    child.sendline("stty size; test -t 0 && test -t 1 && test -t 2 && echo all; echo $TERM; tty")
    child.expect("31 97\r\n")
    child.expect("all\r\n")
    child.expect(f"{os.environ.get('TERM', 'dumb')}\r\n")
    child.expect("/dev/pts/0")
    child.sendline("exit 3")
    assert _ended(child) == 3
    assert _is_as_new(child)


def test_a_resize_reaches_the_command(run: Run) -> None:
    child = run(
        "-t", "--", "sh", "-c", "trap 'stty size' WINCH; echo ready; while :; do sleep 0.1; done"
    )
    child.expect("ready")
    child.setwinsize(40, 123)
    child.expect("40 123")
    child.sendcontrol("c")
    assert _ended(child) == 130


def test_ctrl_c_is_a_key_for_the_foreground_job_only(run: Run) -> None:
    child = run("-t", "--", "sh")
    child.expect("# ")
    child.sendline("sh -c 'echo running; sleep 100'")
    child.expect("\nrunning\r\n")
    child.sendcontrol("c")
    child.expect("# ")
    child.sendline("echo still; exit")
    child.expect("still\r\n")
    assert _ended(child) == 0


def test_job_control_works(run: Run) -> None:
    child = run("-t", "--", "sh")
    child.expect("# ")
    child.sendline("echo running; cat")
    child.expect("\nrunning\r\n")
    child.sendline("one")
    child.expect("one\r\none\r\n")
    child.sendcontrol("z")
    child.expect("Stopped")
    child.expect("# ")
    child.sendline("fg")
    child.expect("cat")
    child.sendline("hello")
    child.expect("hello\r\nhello\r\n")
    child.sendcontrol("d")
    child.expect("# ")
    child.sendline("exit")
    assert _ended(child) == 0


@pytest.mark.thorough
def test_full_screen_programs_work(run: Run) -> None:
    child = run("-t", "--", "sh")
    child.expect("# ")
    child.sendline("vi /tmp/file")
    child.expect("/tmp/file")
    child.delaybeforesend = 0.3  # otherwise Escape begins the sequence of a function key
    child.send("iwritten")
    child.send("\x1b")
    child.send(":wq\r")
    child.expect("# ")
    child.sendline("cat /tmp/file; top -n 1 | head -n 1; exit")
    child.expect("written\r\n")
    child.expect("Mem:")
    assert _ended(child) == 0


def test_the_terminal_is_restored_after_qemu_has_crashed(run: Run) -> None:
    child = run("-t", "--", "sh", "-c", "echo ready; sleep 100")
    child.expect("ready")
    assert _is_raw(child)
    (qemu,) = children(child.pid or 0)
    os.kill(qemu, signal.SIGKILL)
    child.expect("QEMU was killed by signal 9")
    assert _ended(child) == 125
    assert _is_as_new(child)


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("command", "key", "status"),
    [
        (["sh", "-c", "echo ready; sleep 100"], "c", 130),
        (["sh", "-c", "trap 'exit 4' INT; echo ready; while :; do sleep 0.1; done"], "c", 4),
        (["yes", "ready"], "\\", 131),  # the shell of busybox ignores this key
    ],
)
def test_terminal_is_restored_after_a_key_ends_the_command(
    run: Run, command: list[str], key: str, status: int
) -> None:
    child = run("-t", "--", *command)
    child.expect("ready")
    assert _is_raw(child)
    child.sendcontrol(key)
    assert _ended(child) == status
    assert _is_as_new(child)


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("options", "status", "says"),
    [
        (["--timeout", "0.5"], 124, "timed out after 0.5 s"),
        (["--max-output", "20"], 122, "wrote more than 20 bytes"),
        (["--workdir", "/nowhere"], 126, "cannot enter its working directory"),
    ],
)
def test_terminal_is_restored_when_the_command_is_killed(
    run: Run, options: list[str], status: int, says: str
) -> None:
    child = run("-t", *options, "--", "sh", "-c", "echo ready; sleep 0.1; seq 9; sleep 100")
    child.expect(says)
    assert _ended(child) == status
    assert _is_as_new(child)


def test_the_terminal_is_restored_after_a_signal(run: Run) -> None:
    child = run("-t", "--", "sh", "-c", "echo ready; sleep 100")
    child.expect("ready")
    child.kill(signal.SIGTERM)
    assert _ended(child) == 128 + signal.SIGTERM
    assert _is_as_new(child)


def test_without_t_ctrl_c_interrupts_the_command(run: Run) -> None:
    child = run(
        "--", "sh", "-c", "trap 'echo caught; exit 3' INT; echo ready; while :; do sleep 0.1; done"
    )
    child.expect("ready")
    child.sendcontrol("c")
    child.expect("caught")
    assert _ended(child) == 3
    assert _is_as_new(child)


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("arguments", "typed"),
    [
        (["--", "sh"], "microvm run -t -- sh"),
        (["-m", "128M", "/bin/sh"], "microvm run -t -m 128M /bin/sh"),
    ],
)
def test_shell_without_t_shows_the_option(run: Run, arguments: list[str], typed: str) -> None:
    child = run(*arguments)
    child.expect_exact(f"{arguments[-1]} got no input, because a command gets a terminal only with")
    child.expect_exact(f": type `{typed}`")
    assert _ended(child) == 0


@pytest.mark.thorough
@pytest.mark.parametrize(
    "arguments",
    [
        ["-q", "--", "sh"],
        ["-n", "--", "sh"],
        ["--json-file", "/dev/null", "--", "sh"],
        ["--", "sh", "-c", ":"],
        ["--", "true"],
    ],
    ids=" ".join,
)
def test_no_hint_about_t_without_need(run: Run, arguments: list[str]) -> None:
    child = run(*arguments)
    assert _ended(child) == 0
    assert child.before == b""


def test_json_of_a_shell_without_t_is_json_alone(run: Run) -> None:
    child = run("--json", "--", "sh")
    assert _ended(child) == 0
    assert json.loads(child.before or b"")["status"] == 0


def test_no_hint_about_t_is_written_to_a_pipe() -> None:
    command = f"{sys.executable} -m microvm run -- sh | cat"
    with pexpect.spawn("sh", ["-c", command], timeout=60) as child:
        child.expect(pexpect.EOF)
        assert child.before == b""


@pytest.mark.thorough
def test_ignored_ctrl_c_shows_the_effect_of_a_second(run: Run) -> None:
    child = run("--", "sh", "-c", "trap '' INT; echo ready; while :; do sleep 0.1; done")
    child.expect("ready")
    child.sendcontrol("c")
    child.expect_exact("sh continues after Ctrl-C; press Ctrl-C twice within a second to end the ")
    child.expect_exact("machine\r\n")
    interrupt_again_until_end(child)
    assert child.signalstatus == signal.SIGINT


def test_ctrl_c_also_ends_the_loop_of_the_calling_shell() -> None:
    command = [sys.executable, "-m", "microvm", "run", "--", "sh", "-c"]
    check_ctrl_c_ends_a_shell_loop([*command, "echo begun; exec sleep 1001"])


def test_log_lines_on_a_terminal_end_with_carriage_returns(run: Run) -> None:
    child = run("-t", "-vvv", "--", "true")
    child.expect(pexpect.EOF)
    lines = (child.before or b"").split(b"\n")
    assert lines.pop() == b""
    assert any(b"wire: the guest sends" in line for line in lines)
    assert all(line.endswith(b"\r") for line in lines)


@pytest.mark.thorough
def test_terminal_is_passed_on_by_i_and_not_by_n(run: Run) -> None:
    child = run("-i", "--", "sh", "-c", "read line; echo got $line")
    child.sendline(b"hello")
    child.expect(b"got hello")
    assert _ended(child) == 0
    child = run("-nt", "--", "sh", "-c", "cat; echo over")
    child.expect(b"over")
    assert _ended(child) == 0

"""Tests of `microvm run -t` in a real pseudo-terminal."""

from __future__ import annotations

import os
import signal
import sys
import termios
from collections.abc import Callable, Iterator

import pexpect
import pytest
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


def test_log_lines_on_a_terminal_end_with_carriage_returns(run: Run) -> None:
    child = run("-t", "-vvv", "--", "true")
    child.expect(pexpect.EOF)
    lines = (child.before or b"").split(b"\n")
    assert lines.pop() == b""
    assert any(b"wire: the guest sends" in line for line in lines)
    assert all(line.endswith(b"\r") for line in lines)

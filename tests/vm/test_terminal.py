"""`microvm run -t`, through a real pseudo-terminal."""

from __future__ import annotations

import os
import signal
import sys
import termios
from collections.abc import Callable, Iterator

import pexpect
import pytest
from tests.vm.conftest import children_of

from microvm_image import Image

Run = Callable[..., "pexpect.spawn[bytes]"]


@pytest.fixture
def run(image: Image) -> Iterator[Run]:
    """Start `microvm run` in a terminal of 31 lines and 97 columns."""
    del image
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


def _flags(child: pexpect.spawn[bytes]) -> int:
    """Whether the terminal echoes and gives lines: what a shell's user needs."""
    flags: int = termios.tcgetattr(child.child_fd)[3]
    return flags & (termios.ECHO | termios.ICANON | termios.ISIG)


NORMAL = termios.ECHO | termios.ICANON | termios.ISIG


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
    assert _flags(child) == NORMAL


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


def test_full_screen_programs_work(run: Run) -> None:
    child = run("-t", "--", "sh")
    child.expect("# ")
    child.sendline("vi /tmp/file")
    child.expect("/tmp/file")
    child.delaybeforesend = 0.3  # else Escape is taken for the start of a function key's sequence
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
    assert _flags(child) == 0
    (qemu,) = children_of(child.pid or 0)
    os.kill(qemu, signal.SIGKILL)
    child.expect("QEMU was killed by signal 9")
    assert _ended(child) == 125
    assert _flags(child) == NORMAL


def test_the_terminal_is_restored_after_a_signal(run: Run) -> None:
    child = run("-t", "--", "sh", "-c", "echo ready; sleep 100")
    child.expect("ready")
    child.kill(signal.SIGTERM)
    assert _ended(child) == 128 + signal.SIGTERM
    assert _flags(child) == NORMAL


def test_without_t_ctrl_c_interrupts_the_command(run: Run) -> None:
    child = run(
        "--", "sh", "-c", "trap 'echo caught; exit 3' INT; echo ready; while :; do sleep 0.1; done"
    )
    child.expect("ready")
    child.sendcontrol("c")
    child.expect("caught")
    assert _ended(child) == 3
    assert _flags(child) == NORMAL

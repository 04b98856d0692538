"""Ctrl-C in a terminal: pressed again and again, and in a loop of a shell."""

from __future__ import annotations

import signal
from collections.abc import Sequence

import pexpect


def interrupt_again_until_end(child: pexpect.spawn[bytes]) -> None:
    """Press Ctrl-C in a terminal, a few times a second, until its process has exited.

    If two arrive at once, the process gets only one signal.
    """
    for _ in range(100):
        child.sendcontrol("c")
        if child.expect([pexpect.EOF, pexpect.TIMEOUT], timeout=0.2) == 0:
            break
    child.wait()


def check_ctrl_c_ends_a_shell_loop(command: Sequence[str]) -> None:
    """Check that a Ctrl-C ends a loop of bash in which a command, which prints `begun`, runs."""
    loop = 'for each in 1 2; do "$@"; done; echo over'
    with pexpect.spawn("bash", ["-c", loop, "-", *command], timeout=60) as shell:
        shell.expect(b"begun")
        shell.sendcontrol("c")
        shell.expect(pexpect.EOF)
        assert b"over" not in shell.before
        assert b"begun" not in shell.before
        shell.wait()
        assert shell.signalstatus == signal.SIGINT

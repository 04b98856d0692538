"""Tests of the exit status of the command after Ctrl-C, as a shell expects it."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest
from tests.support.ctrl_c import check_ctrl_c_ends_a_shell_loop

# The handler of `__main__` is tested here, in place of the others.
SCRIPT = """
import atexit, os, signal, sys
from microvm.system import interrupt
from microvm.__main__ import main
from microvm.cli import root
number, status, at_once = map(int, sys.argv[1:])
atexit.register(print, "cleared up")
def work(error):
    try:
        print("begun", end=" ", flush=True)
        if number: os.kill(os.getpid(), number)
        elif status == 130 and not at_once: signal.pause()
    except SystemExit:
        if status == 130 and not at_once: raise
    if at_once: interrupt.leave(status)
    sys.exit(status)
root.main = work
main()
"""


@pytest.mark.parametrize(
    ("number", "status", "at_once", "returncode", "says"),
    [
        (signal.SIGINT, 130, False, -signal.SIGINT, b"begun cleared up\n"),
        (signal.SIGINT, 130, True, -signal.SIGINT, b"begun "),
        (signal.SIGINT, 3, False, 3, b"begun cleared up\n"),  # the command has handled it
        (signal.SIGINT, 0, True, 0, b"begun "),
        (0, 130, True, 130, b"begun "),  # its own choice
    ],
)
def test_process_dies_of_sigint_after_its_clean_up(
    number: int, status: int, at_once: bool, returncode: int, says: bytes
) -> None:
    command = [sys.executable, "-c", SCRIPT, *map(str, (int(number), status, int(at_once)))]
    done = subprocess.run(command, capture_output=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (returncode, says, b"")


def test_a_ctrl_c_also_ends_the_loop_of_the_shell() -> None:
    check_ctrl_c_ends_a_shell_loop([sys.executable, "-c", SCRIPT, "0", "130", "0"])

"""Tests that the program never outlives its controller, whenever and however that exits."""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest
from tests.support.confined import SYSTEM

KILLED = Path(__file__).with_name("killed.py")
COUNT = 150
SECONDS = 0.006  # a launch takes about a third of this time

KINDS = {
    "user": SYSTEM,
    "no namespaces": ["--without", "user", "--without", "pid", *SYSTEM],
    "root": ["--uid", str(0x7C000000), *SYSTEM],
}
if os.geteuid() != 0:
    del KINDS["root"]

kinds = pytest.mark.parametrize("options", KINDS.values(), ids=KINDS.keys())


@pytest.mark.thorough
@kinds
def test_controller_killed_at_any_moment_leaves_no_process(
    launcher: Path, options: Sequence[str]
) -> None:
    words = ["-SE", str(KILLED), str(COUNT), str(SECONDS), str(launcher), *options]
    command = [sys.executable, *words]
    result = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert result.returncode == 0, result.stderr
    assert 0 < int(result.stdout) < COUNT, "the moments are those of a launch"


@kinds
def test_program_ends_with_the_thread_that_spawned_it(
    launcher: Path, options: Sequence[str]
) -> None:
    """The man page prctl(2) describes PR_SET_PDEATHSIG this way."""
    stdin, never = os.pipe()
    output, stdout = os.pipe()
    spawned: queue.Queue[subprocess.Popen[bytes]] = queue.Queue()
    seen = threading.Event()

    def launch() -> None:
        command = [str(launcher), "--controller", str(os.getpid()), *options, "--"]
        command += ["/bin/sh", "-c", "echo executed; read line"]
        spawned.put(subprocess.Popen(command, stdin=stdin, stdout=stdout, start_new_session=True))
        seen.wait()

    thread = threading.Thread(target=launch)
    thread.start()
    process = spawned.get()
    os.close(stdin)
    os.close(stdout)
    with os.fdopen(output, "rb") as reader, os.fdopen(never, "wb"):
        assert reader.readline() == b"executed\n"
        seen.set()
        assert reader.read() == b""  # the program has closed the pipe
    thread.join()
    # The launcher dies with the thread, too, unless it has exited already.
    assert process.wait() in {0, -signal.SIGKILL}
    os.waitid(os.P_PGID, process.pid, os.WEXITED)

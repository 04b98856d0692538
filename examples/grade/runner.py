"""A Python process that waits in a guest for one program, and runs it in a child process.

It reads JSON with a program and its input from a FIFO, and writes the output of the program, or its
traceback, to another. The child process runs as an unprivileged user and has opened the second FIFO
before. So the program can open neither FIFO, and cannot kill processes of other users.
"""

from __future__ import annotations

import io
import json
import os
import resource
import sys
import traceback
from pathlib import Path

PROGRAMS, ANSWERS = Path("/run/programs"), Path("/run/answers")

NOBODY = 65534
MEMORY = 32 << 20  # bytes for a program, in addition to the memory of Python
PROCESSES = 16


def drop_rights() -> None:
    """Become an unprivileged user, with limits on memory and processes."""
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))
    resource.setrlimit(resource.RLIMIT_NPROC, (PROCESSES, PROCESSES))
    os.chdir("/tmp")  # noqa: S108
    os.setgroups([])
    os.setgid(NOBODY)
    os.setuid(NOBODY)


def run(program: str, given: str) -> None:
    """Run a program, whose output is written to the FIFO for answers."""
    with ANSWERS.open("w") as answers:
        os.dup2(answers.fileno(), 1)
        os.dup2(answers.fileno(), 2)
    drop_rights()
    sys.stdin = io.StringIO(given)
    try:
        exec(compile(program, "program.py", "exec"), {"__name__": "__main__"})  # noqa: S102
    except BaseException:
        traceback.print_exc()
    sys.stdout.flush()


def main() -> None:
    """Run one program after another, forever."""
    os.mkfifo(ANSWERS, 0o600)
    os.mkfifo(PROGRAMS, 0o600)
    while True:
        request = json.loads(PROGRAMS.read_text())
        if child := os.fork():
            os.waitpid(child, 0)
        else:
            try:
                run(request["program"], request["input"])
            finally:
                os._exit(0)


if __name__ == "__main__":
    main()

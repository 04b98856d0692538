"""A Python that waits in a guest for one program, and then is that program.

What comes by one FIFO is JSON with a program and its input; what the program prints, or its
traceback, goes by another. The program runs as nobody, in a child that has the answer open
already: it can open neither FIFO, and end nothing that is not its own.
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
MEMORY = 32 << 20  # that a program can have, beside what Python has, in bytes
PROCESSES = 16


def drop_rights() -> None:
    """Become nobody, with no more than a program needs."""
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))
    resource.setrlimit(resource.RLIMIT_NPROC, (PROCESSES, PROCESSES))
    os.chdir("/tmp")  # noqa: S108
    os.setgroups([])
    os.setgid(NOBODY)
    os.setuid(NOBODY)


def run(program: str, given: str) -> None:
    """Run a program; what it writes is the answer."""
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
    """Run one program after the other, for ever."""
    os.mkfifo(ANSWERS, 0o600)
    os.mkfifo(PROGRAMS, 0o600)
    while True:
        asked = json.loads(PROGRAMS.read_text())
        if child := os.fork():
            os.waitpid(child, 0)
        else:
            try:
                run(asked["program"], asked["input"])
            finally:
                os._exit(0)


if __name__ == "__main__":
    main()

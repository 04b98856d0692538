"""A controller that does something to itself at the moment when its machine is in a state.

`python -m tests.faults.controller STATE IMAGE ACT` prints `reached PID` with the pid of QEMU, does
the act, and continues as a user would. At last it prints `done`, or on standard error the error of
the user.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

from microvm.errors import MicroVMError
from microvm.images import load

from .state import STATES, FaultScene


def executed() -> None:
    """Replace this process by another program, which becomes the parent of QEMU."""
    os.execv("/bin/sleep", ["sleep", "600"])  # noqa: S606 - what is tested


def forked() -> None:
    """Fork a child that remains, with all inherited descriptors."""
    if os.fork() == 0:
        time.sleep(600)
        os._exit(0)


def daemonised() -> None:
    """Continue in a child process, which is not the process that started QEMU."""
    if os.fork():
        os._exit(0)
    os.setsid()
    signal.alarm(10)


def multiprocessed() -> None:
    """Run children with multiprocessing, one forked and one spawned."""
    for child in (
        multiprocessing.get_context("fork").Process(target=int),
        multiprocessing.get_context("spawn").Process(target=int),
    ):
        child.start()
        child.join()
        assert child.exitcode == 0


ACTS: dict[str, Callable[[], None]] = {
    act.__name__: act for act in (executed, forked, daemonised, multiprocessed)
}
"""Acts of the controller, beside sending itself a signal."""


def main() -> None:
    """Bring a machine into the state, and do the act."""
    state, image, act = sys.argv[1:]

    def reached(pid: int) -> None:
        print("reached", pid, flush=True)
        if act in ACTS:
            ACTS[act]()
        else:
            os.kill(os.getpid(), signal.Signals[act])

    try:
        asyncio.run(STATES[state](FaultScene(load(Path(image))), reached))
    except MicroVMError as error:
        sys.exit(f"{type(error).__name__}: {error}")
    print("done", flush=True)


if __name__ == "__main__":
    main()

"""A controller that does something to itself, at the very moment when its machine is in a state.

`python -m tests.faults.controller STATE IMAGE ACT` says `reached PID` of QEMU, does it, and goes on
as a user would; in the end it says `done`, or on standard error which error its user gets.
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

from .state import STATES, Scene


def executed() -> None:
    """It becomes another program, whose child QEMU then is."""
    os.execv("/bin/sleep", ["sleep", "600"])  # noqa: S606 - what is tested


def forked() -> None:
    """A child of it stays, with all that it has inherited."""
    if os.fork() == 0:
        time.sleep(600)
        os._exit(0)


def daemonised() -> None:
    """It goes on as its own child, and is no longer the process that has started QEMU."""
    if os.fork():
        os._exit(0)
    os.setsid()
    signal.alarm(10)


def multiprocessed() -> None:
    """It has children of multiprocessing's, one forked and one spawned, that come and go."""
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
"""What it can do beside sending itself a signal."""


def main() -> None:
    """Bring a machine to the state, and do it."""
    state, image, act = sys.argv[1:]

    def reached(pid: int) -> None:
        print("reached", pid, flush=True)
        if act in ACTS:
            ACTS[act]()
        else:
            os.kill(os.getpid(), signal.Signals[act])

    try:
        asyncio.run(STATES[state](Scene(load(Path(image))), reached))
    except MicroVMError as error:
        sys.exit(f"{type(error).__name__}: {error}")
    print("done", flush=True)


if __name__ == "__main__":
    main()

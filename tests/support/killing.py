"""Helpers that kill QEMUs: those of a process at random times, or each as it starts."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from random import Random
from types import ModuleType
from typing import Any

import pytest
from tests.support.processes import children, program

from microvm.qemu import launch

MEAN = 1.0
"""Mean number of seconds between two kills."""

JOBS = 200
"""Number of jobs in each batch."""


def qemus(pid: int) -> list[int]:
    """Return the QEMUs among the descendants of a process."""
    below = children(pid)
    own = [child for child in below if program(child).startswith("qemu")]
    return own + [each for child in below for each in qemus(child)]


def kill_at_random(process: subprocess.Popen[bytes], random: Random, most: int) -> int:
    """Kill QEMUs of a process at random times until it exits; return the number of kills.

    :param most: maximum number of kills.
    """
    kills = 0
    while process.poll() is None:
        time.sleep(random.expovariate(1 / MEAN))
        found = qemus(process.pid)
        if found and kills < most:
            with contextlib.suppress(ProcessLookupError):
                os.kill(random.choice(found), signal.SIGKILL)
                kills += 1
    return kills


def check_batches(random: Random, wanted: int, *options: str) -> None:
    """Run batches by `microvm map` until so many QEMUs were killed, and check each job's line."""
    kills, reasons = 0, Counter[str]()
    while kills < wanted:
        with tempfile.NamedTemporaryFile("w+b") as jobs, tempfile.TemporaryFile() as results:
            jobs.writelines(b"echo %d; sleep 0.1\n" % number for number in range(1, JOBS + 1))
            jobs.flush()
            command = [sys.executable, "-m", "microvm", "map", *options, jobs.name]
            with subprocess.Popen(command, stdout=results) as process:
                kills += kill_at_random(process, random, wanted - kills)
            results.seek(0)
            lines = [json.loads(line) for line in results]
        assert sorted(each["line"] for each in lines) == [*range(1, JOBS + 1)]
        for each in lines:
            done = (each["status"], each["stdout"]) == (0, f"{each['line']}\n")
            assert done or each["reason"] in {"GuestDied", "NotRun"}
        not_run = any(each["reason"] == "NotRun" for each in lines)
        failed = any(each["status"] for each in lines)
        assert process.returncode == (125 if not_run else int(failed))
        reasons.update(each["reason"] for each in lines)
    print(f"{kills} kills: {dict(reasons)}")


class KilledStarts:
    """The next starts of QEMU by a module, each of which is killed as soon as it is spawned.

    :ivar left: the number of starts that are still to be killed.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, module: ModuleType, count: int) -> None:
        self.left = count
        monkeypatch.setattr(module, "launch", self._launch)

    def _launch(self, *args: Any, **more: Any) -> launch.Launched:
        launched = launch.launch(*args, **more)
        if self.left:
            self.left -= 1
            os.kill(launched.child.pid, signal.SIGKILL)
        return launched

"""Helpers that find the QEMUs of a process, or kill each QEMU as it starts."""

from __future__ import annotations

import os
import signal
from types import ModuleType
from typing import Any

import pytest
from tests.support.processes import children, program

from microvm.qemu import launch


def qemus(pid: int) -> list[int]:
    """Return the QEMUs among the descendants of a process."""
    below = children(pid)
    own = [child for child in below if program(child).startswith("qemu")]
    return own + [each for child in below for each in qemus(child)]


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

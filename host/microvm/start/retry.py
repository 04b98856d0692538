"""The rules for starting a machine again when one was lost while it started."""

from __future__ import annotations

import time
from copy import copy
from dataclasses import dataclass

from microvm.errors import (
    BootError,
    ConfinementError,
    GuestUnresponsive,
    MachineError,
    MicroVMError,
    QemuError,
    SnapshotError,
)
from microvm.system.capacity import SHORTAGES

MAX_FAILURES = 12
"""Number of failed starts in a row after which no machine is started again."""

MAX_SECONDS = 60.0
"""Seconds after the first start of such a row, after which no machine is started again."""

FIRST_PAUSE, LONGEST_PAUSE = 0.1, 3.2
"""Seconds between the first failure of a row and the next start; each further pause is twice as
long, up to the longest."""

# The exits of QEMU that come from outside: the next start may be spared. A guest that panics, or a
# QEMU that refuses its arguments, would do so again.
_PASSING_EXITS = {"killed", "crash", "limit", "internal_error"}


def is_worthwhile(error: BaseException) -> bool:
    """Tell whether the next start of a machine may succeed where one has failed with this error.

    It may where QEMU was killed or has crashed, where this host was short of something, and where
    the guest did not answer in time. The same goes for an attempt to take a snapshot.
    """
    if isinstance(error, SnapshotError):  # of a snapshot that could not be taken
        return error.__cause__ is not None and is_worthwhile(error.__cause__)
    if isinstance(error, ConfinementError) or not isinstance(error, (QemuError, MachineError)):
        return False
    if error.qemu_exit is not None:
        return error.qemu_exit.kind in _PASSING_EXITS
    if isinstance(error, (BootError, GuestUnresponsive)):
        return True
    cause = error.__cause__
    if isinstance(cause, TimeoutError):
        return True
    return isinstance(cause, OSError) and cause.errno in SHORTAGES


@dataclass(frozen=True, slots=True)
class Attempt:
    """A start of a machine: when it began, and how many in a row had failed by then."""

    began: float
    failures: int


class Retries:
    """The failed starts in a row of machines that several start at a time.

    Starts that overlap count as one failure, because one event may have ended all of them.
    """

    def __init__(self) -> None:
        self._failures = 0
        self._since = 0.0

    def begin(self) -> Attempt:
        """Note that a start begins."""
        return Attempt(time.monotonic(), self._failures)

    def succeed(self) -> None:
        """Note that a machine is up: the row of failures has ended."""
        self._failures = 0

    def fail(self, attempt: Attempt, error: BaseException) -> float:
        """Note that a start has failed, and return the seconds to wait before the next one.

        :raises BaseException: the error, because no machine is to be started again. It says how
            many starts have failed, if several have. A new row begins then.
        """
        if not is_worthwhile(error):
            self._failures = 0
            raise error
        if attempt.failures != self._failures:
            return 0.0  # counted with another start
        if self._failures == 0:
            self._since = attempt.began
        self._failures += 1
        if self._failures >= MAX_FAILURES or time.monotonic() - self._since > MAX_SECONDS:
            failures, self._failures = self._failures, 0
            raise _counted(error, failures)
        return min(FIRST_PAUSE * 2.0 ** (self._failures - 1), LONGEST_PAUSE)


def _counted(error: BaseException, failures: int) -> BaseException:
    if failures == 1 or not isinstance(error, MicroVMError):
        return error
    counted = copy(error)
    counted.message = f"{failures} starts of a machine in a row failed, at last: {error.message}"
    return counted

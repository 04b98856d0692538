"""The rules that decide whether and when a machine is started again after a failed start."""

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
"""Maximum number of seconds of failed starts in a row; after that, no machine is started again."""

FIRST_PAUSE, LONGEST_PAUSE = 0.1, 3.2
"""Seconds after the first failed start, and the maximum. Each pause is twice the one before."""

# Ways in which QEMU exits for causes outside of the guest, so that another start may succeed.
_PASSING_EXITS = {"killed", "crash", "limit", "internal_error"}


def is_worthwhile(error: BaseException) -> bool:
    """Return True if a start, or a snapshot, that failed with this error may succeed if repeated.

    It may succeed if QEMU was killed or crashed, if the host lacked memory or another resource, or
    if the guest did not answer in time.
    """
    if isinstance(error, SnapshotError):  # `error` is the error of an attempt to take a snapshot
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
    """An attempt to start a machine: when it began, and how many failed in a row just before."""

    began: float
    failures: int


class Retries:
    """A count of the attempts to start a machine that have failed in a row.

    Attempts that overlap count as one failure, because one event may have ended all of them.
    """

    def __init__(self) -> None:
        self._failures = 0
        self._since = 0.0

    def begin(self) -> Attempt:
        """Record that an attempt begins, and return the attempt."""
        return Attempt(time.monotonic(), self._failures)

    def succeed(self) -> None:
        """Record that a machine is ready, which sets the count of failures to 0."""
        self._failures = 0

    def fail(self, attempt: Attempt, error: BaseException) -> float:
        """Record a failed attempt, and return the number of seconds to wait before the next one.

        :raises BaseException: The error `error`, if no machine should be started again. Its message
            then contains the number of failures, and the count is set to 0.
        """
        if not is_worthwhile(error):
            self._failures = 0
            raise error
        if attempt.failures != self._failures:
            return 0.0  # another attempt that overlapped with this one has already been counted
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
    counted.message = f"{failures} starts of a machine failed in a row, the last: {error.message}"
    return counted

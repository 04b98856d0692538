"""The rules for starting another machine when one dies while it starts."""

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
"""Number of seconds between the first failure of a row and the next start. Each further pause is
twice as long, up to `LONGEST_PAUSE`."""

# The cause of these exits of QEMU is outside of the guest, so the next start may succeed. A guest
# that panics, or a QEMU that refuses its arguments, would fail again.
_PASSING_EXITS = {"killed", "crash", "limit", "internal_error"}


def is_worthwhile(error: BaseException) -> bool:
    """Tell whether the next start of a machine may succeed after this error.

    It may succeed if QEMU was killed or crashed, if this host was short of a resource, or if the
    guest did not answer in time. The same rule holds for an attempt to take a snapshot.
    """
    if isinstance(error, SnapshotError):  # the error of an attempt to take a snapshot
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
    """A start of a machine: when it began, and the number of failures in a row before it."""

    began: float
    failures: int


class Retries:
    """The failed starts in a row of machines, several of which may start at the same time.

    Starts that overlap count as one failure, because one event may have ended all of them.
    """

    def __init__(self) -> None:
        self._failures = 0
        self._since = 0.0

    def begin(self) -> Attempt:
        """Note that a start begins, and return it."""
        return Attempt(time.monotonic(), self._failures)

    def succeed(self) -> None:
        """Note that a machine is ready, which ends the row of failures."""
        self._failures = 0

    def fail(self, attempt: Attempt, error: BaseException) -> float:
        """Note that a start has failed, and return the seconds to wait before the next one.

        :raises BaseException: the given error, if no machine is to be started again. If several
            starts in a row have failed, the message says how many. The count then begins anew.
        """
        if not is_worthwhile(error):
            self._failures = 0
            raise error
        if attempt.failures != self._failures:
            return 0.0  # already counted as one failure with another start
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

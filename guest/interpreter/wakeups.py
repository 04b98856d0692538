"""Signals that end a system call in which the worker waits, after an interrupt."""

from __future__ import annotations

import signal
import time

from interpreter.processes import send_signal

FIRST_PAUSE = 0.05
"""Number of seconds between an interrupt and the first SIGURG."""


class Wakeups:
    """Sends SIGURG to the worker after an interrupt, until the request ends.

    If SIGINT arrives just before Python waits in a system call, Python runs the handler of SIGINT
    only when the wait has ended. SIGURG ends the wait, and its own handler does nothing. It can
    arrive just before a wait, too, so it is sent again, each time after a pause that is twice as
    long.
    """

    def __init__(self) -> None:
        self._pause = 0.0
        self._due = 0.0

    def begin(self) -> None:
        """Begin to send signals, because the worker was interrupted."""
        self._pause = FIRST_PAUSE
        self._due = time.monotonic() + self._pause

    def send(self, worker: int) -> float | None:
        """Send a signal if it is due. Return the milliseconds until the next one; None if never.

        :param worker: Process id of the worker; 0 if it executes no request.
        """
        if not worker:
            self._pause = 0.0
        if not self._pause:
            return None
        left = self._due - time.monotonic()
        if left <= 0:
            send_signal(worker, signal.SIGURG)
            self._pause *= 2
            left = self._pause
            self._due += left
        return left * 1000

"""Ends a request of an interpreter: interrupts it, and kills processes if that has no effect."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from microvm.guest.deadline import Deadline, Timer
from microvm.guest.timeouts import TIMEOUTS
from microvm.wire.interpreter_session import InterpreterSession

GRACE = 5.0
"""Default number of seconds between two steps that end a cell."""


class Escalation:
    """The steps that end a request: each step begins if the one before it had no effect in time.

    First, the cell gets a KeyboardInterrupt. After `grace` seconds, the processes that it has
    started are killed. After `grace` seconds again, the interpreter is killed. If the guest does
    not answer even then, the connection is dropped. If the host itself has delayed the answer,
    because a callback of the caller does not return, nothing is killed before the callback is
    cancelled and `grace` seconds have passed again.

    :param send: Function that sends a message to the guest, unless it is empty.
    :param unblock: Function that cancels a running callback, and prevents further ones. It returns
        False and has no effect if none runs.
    :param abort: Function that drops the connection.
    :ivar timed_out: True if the time limit of the request has passed.
    :ivar killed: True if processes were killed.
    """

    def __init__(
        self,
        session: InterpreterSession,
        send: Callable[[bytes], None],
        unblock: Callable[[], bool],
        abort: Callable[[], None],
        grace: float,
    ) -> None:
        self.timed_out = False
        self.killed = False
        self._session, self._send = session, send
        self._unblock, self._abort = unblock, abort
        self._grace = grace
        self._limit, self._next, self._last = Timer(), Timer(), Deadline()

    def limit(self, timeout: float, grace: float | None = None) -> None:
        """Set the time limit of the request: interrupt it after `timeout` seconds.

        :param grace: Number of seconds between two steps after that; by default the same number as
            after another interrupt.
        """
        self._limit.start(timeout, partial(self._time_out, grace))

    def begin(self) -> None:
        """Interrupt the request, and begin to wait for the next step unless that has begun."""
        self._send(self._session.interrupt())
        if not (self.killed or self._next.is_running):
            self._schedule(self._kill_processes)

    def kill(self) -> None:
        """Kill the processes that the request has started. The second call kills the interpreter.

        The first call also interrupts the request, if it was not interrupted before.
        """
        if self.killed:
            self._kill_interpreter()
            return
        if not self._next.is_running:
            self._send(self._session.interrupt())
        self._kill_processes()

    def end(self) -> None:
        """Stop all timers, because the request has ended."""
        for timer in (self._limit, self._next, self._last):
            timer.cancel()

    def _time_out(self, grace: float | None) -> None:
        self.timed_out = True
        if grace is not None:
            self._grace = grace
            if self._next.is_running:  # an interrupt has begun to wait for its own grace time
                self._schedule(self._kill_interpreter if self.killed else self._kill_processes)
        self.begin()

    def _schedule(self, step: Callable[[], None]) -> None:
        self._next.start(self._grace, partial(self._take, step))

    def _take(self, step: Callable[[], None]) -> None:
        """Take a step that kills. If a callback runs, cancel it now, and take the step later."""
        if self._unblock():
            self._schedule(step)
        else:
            step()

    def _kill_processes(self) -> None:
        self.killed = True
        self._send(self._session.kill_started())
        self._schedule(self._kill_interpreter)

    def _kill_interpreter(self) -> None:
        self._send(self._session.kill())
        self._last.start(TIMEOUTS.kill, self._give_up)

    def _give_up(self) -> None:
        self._unblock()
        self._abort()

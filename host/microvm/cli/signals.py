"""Handlers for the signals that end a verb: SIGINT, SIGTERM, SIGHUP and SIGQUIT."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from microvm.system import interrupt

# Intervals of an alarm in seconds: the shortest one, as 0 would be none, and between two calls.
_SOON = 0.001
_ALARM_PERIOD = 0.5

_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)


@contextmanager
def exit_on_signal() -> Iterator[None]:
    """Let SIGTERM, SIGHUP and SIGQUIT raise SystemExit with the status 128 + signal number.

    This is for verbs that do not run in an event loop. Only the first signal raises SystemExit, so
    that a second signal does not interrupt the cleanup. Signals that were ignored when this process
    started stay ignored.
    """
    ended = False

    def end(number: int, _: object) -> None:
        nonlocal ended
        if not ended:
            ended = True
            raise SystemExit(128 + number)

    before = {number: signal.getsignal(number) for number in _ENDING[1:]}
    handled = [number for number in before if before[number] is not signal.SIG_IGN]
    for number in handled:
        signal.signal(number, end)
    try:
        yield
    finally:
        for number in handled:
            signal.signal(number, before[number])


@contextmanager
def handler_of_ctrl_c(handler: Callable[[int, FrameType | None], object]) -> Iterator[None]:
    """Context manager: call `handler` at Ctrl-C, unless the parent process has disabled it."""
    before = signal.getsignal(signal.SIGINT)
    if before is signal.SIG_IGN:
        yield
        return
    signal.signal(signal.SIGINT, handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def alarm(seconds: float, handler: Callable[[], object]) -> Iterator[None]:
    """Context manager: after `seconds`, call `handler` in the main thread, again and again.

    The repetition matters for a handler that raises an exception only while a function waits: the
    first call may be too early.
    """
    before = signal.signal(signal.SIGALRM, lambda *_: handler())
    signal.setitimer(signal.ITIMER_REAL, max(seconds, _SOON), _ALARM_PERIOD)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


async def run_until_signal(
    work: Coroutine[Any, Any, int], take_interrupt: Callable[[], bool] = lambda: False
) -> int:
    """Run `work`; cancel it at SIGTERM, SIGHUP, SIGQUIT, or a SIGINT that `take_interrupt` refuses.

    Signals that were ignored when this process started, for example by nohup(1), stay ignored.

    :param take_interrupt: Function that is called for SIGINT. It returns True if it has handled the
        signal, and then the coroutine is not cancelled.
    """
    loop = asyncio.get_running_loop()
    task = asyncio.create_task(work)
    ended_by = 0

    def end(number: int) -> None:
        nonlocal ended_by
        interrupt.note(number)
        if number == signal.SIGINT and take_interrupt():
            return
        ended_by = number
        task.cancel()

    before = {number: signal.getsignal(number) for number in _ENDING}
    handled = [number for number in _ENDING if before[number] is not signal.SIG_IGN]
    for number in handled:
        loop.add_signal_handler(number, end, number)
    try:
        return await task
    except asyncio.CancelledError:
        return 128 + ended_by
    finally:
        # `remove_signal_handler` sets the default actions of the signals, so restore the previous
        # handlers afterwards.
        for number in handled:
            loop.remove_signal_handler(number)
            signal.signal(number, before[number])

"""The signals that end a verb."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any

from microvm.system import interrupt

_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)


@contextmanager
def raised() -> Iterator[None]:
    """Have SIGTERM, SIGHUP and SIGQUIT raise SystemExit, as a Ctrl-C does, with 128+N.

    It is for verbs whose work is not a coroutine. Of these signals, the first one counts: what
    comes while the work clears up changes nothing. What we were started to ignore stays ignored.
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


async def run_until_signal(
    work: Coroutine[Any, Any, int], take_interrupt: Callable[[], bool] = lambda: False
) -> int:
    """Run the work, and cancel it at a Ctrl-C, SIGTERM, SIGHUP or SIGQUIT.

    What of these we were started to ignore, as by nohup(1), stays ignored.

    :param take_interrupt: called at a Ctrl-C; True if it has taken care of it.
    :return: the work's exit status, or 128+N when signal N has ended it.
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
        # Restored by us: the loop would leave the default actions.
        for number in handled:
            loop.remove_signal_handler(number)
            signal.signal(number, before[number])

"""Ends this process by SIGINT after a Ctrl-C, so that a shell also stops a loop that runs it.

The shell that waits for a program receives the Ctrl-C, too. It continues its script unless SIGINT
killed the program. A program that exits, even with 130, may have used Ctrl-C as a key. See
https://www.cons.org/cracauer/sigint.html
"""

from __future__ import annotations

import os
import signal
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

AGAIN = 1.0
"""Seconds within which a second Ctrl-C ends this process, and is not passed to the command."""

_INTERRUPTED = 128 + signal.SIGINT
_received: set[int] = set()


def note(number: int) -> None:
    """Record that this process received the signal `number`. Every signal handler calls this."""
    _received.add(number)


def leave(status: int) -> NoReturn:
    """End this process at once.

    If it received SIGINT and the status is 130, it kills itself by SIGINT. Otherwise it exits.
    """
    if _is_due(status):
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        signal.raise_signal(signal.SIGINT)
    # A process with PID 1 cannot kill itself by a signal, so it exits here even after SIGINT.
    os._exit(status)


def check(status: object) -> None:
    """Raise KeyboardInterrupt if the exit status is 130, and this process received SIGINT.

    :raises KeyboardInterrupt: the process has to end by SIGINT. Nobody catches the exception, so
        the interpreter does that after its usual cleanup. It prints no traceback.
    """
    if _is_due(status):
        sys.excepthook = lambda *_: None
        raise KeyboardInterrupt


def _is_due(status: object) -> bool:
    return signal.SIGINT in _received and status == _INTERRUPTED

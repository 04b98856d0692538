"""The Ctrl-C that ends the command line, and with it a shell's loop around it.

A shell that waits for a program has the Ctrl-C, too, and goes on unless the program died of it: one
that exits, even with 130, may have used it as a key. https://www.cons.org/cracauer/sigint.html
"""

from __future__ import annotations

import os
import signal
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

AGAIN = 1.0
"""The seconds within which a second Ctrl-C is for us, and not for the command."""

_INTERRUPTED = 128 + signal.SIGINT
_came: set[int] = set()


def note(number: int) -> None:
    """Note that a signal has reached us, from whatever handles it."""
    _came.add(number)


def leave(status: int) -> NoReturn:
    """End this process at once, of SIGINT if that has reached us and is what the status says."""
    if _is_due(status):
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        signal.raise_signal(signal.SIGINT)
    os._exit(status)  # also for an init, whom its own signals do nothing


def check(status: object) -> None:
    """Have the interpreter end as `leave` does, if that is due, when it has cleared up.

    :raises KeyboardInterrupt: it is due: the interpreter dies of SIGINT for one that nobody
        catches, here without a word.
    """
    if _is_due(status):
        sys.excepthook = lambda *_: None
        raise KeyboardInterrupt


def _is_due(status: object) -> bool:
    return signal.SIGINT in _came and status == _INTERRUPTED

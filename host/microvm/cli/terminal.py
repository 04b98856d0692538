"""Controls the user's terminal while a command in a guest uses it."""

from __future__ import annotations

import asyncio
import os
import signal
import termios
import tty
from collections.abc import Iterator
from contextlib import contextmanager

from microvm.guest.process import Process
from microvm.options import TERMINAL_SIZE


def size(descriptor: int) -> tuple[int, int]:
    """Return the number of lines and columns of a terminal.

    If the descriptor is not a terminal, or if the size is unknown, return 24 lines of 80 columns.
    """
    try:
        columns, lines = os.get_terminal_size(descriptor)
    except OSError:
        return TERMINAL_SIZE
    return (lines, columns) if lines and columns else TERMINAL_SIZE


@contextmanager
def raw_mode(descriptor: int, process: Process) -> Iterator[None]:
    """Context manager: put the terminal into raw mode, and pass its size to the command `process`.

    If the descriptor is not a terminal, do nothing: a script without a terminal can use `-t`, too.
    """
    if not os.isatty(descriptor):
        yield
        return
    loop = asyncio.get_running_loop()
    before = termios.tcgetattr(descriptor)
    try:
        tty.setraw(descriptor, termios.TCSADRAIN)
        loop.add_signal_handler(signal.SIGWINCH, lambda: process.resize(*size(descriptor)))
        # send the size again, because it may have changed since the command was started
        process.resize(*size(descriptor))
        yield
    finally:
        loop.remove_signal_handler(signal.SIGWINCH)
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)

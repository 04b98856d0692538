"""Our own terminal, while a command in a guest uses it."""

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
    """Return lines and columns; the default for what is no terminal, or does not know its size."""
    try:
        columns, lines = os.get_terminal_size(descriptor)
    except OSError:
        return TERMINAL_SIZE
    return (lines, columns) if lines and columns else TERMINAL_SIZE


@contextmanager
def raw_mode(descriptor: int, process: Process) -> Iterator[None]:
    """Put the terminal into raw mode and pass its size on to the command; restore it at the end.

    What is no terminal is left alone, so that a script can use `-t` too.
    """
    if not os.isatty(descriptor):
        yield
        return
    loop = asyncio.get_running_loop()
    before = termios.tcgetattr(descriptor)
    try:
        tty.setraw(descriptor, termios.TCSADRAIN)
        loop.add_signal_handler(signal.SIGWINCH, lambda: process.resize(*size(descriptor)))
        process.resize(*size(descriptor))  # it may have changed since the command was started
        yield
    finally:
        loop.remove_signal_handler(signal.SIGWINCH)
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)

"""A reader of files, pipes and serial ports, whose bytes are there as soon as they come."""

from __future__ import annotations

import os
import sys
import termios
import tty
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from io import BufferedIOBase
from itertools import chain
from pathlib import Path
from typing import cast

from microvm_proto.dump import Unreadable

SPEEDS = {
    int(name[1:]): value
    for name, value in vars(termios).items()
    if name[0] == "B" and name[1:].isdigit() and value
}
"""The speeds of serial ports, in baud, and what the system has for them."""

_AT_ONCE = 1 << 16

_CONTROL_FLAGS, _IN_SPEED, _OUT_SPEED = 2, 4, 5


@dataclass(frozen=True, slots=True)
class Source:
    """A file, a pipe or a serial port that is being read.

    :ivar pieces: its bytes, as they come.
    :ivar serial: whether it is a serial port, whose bytes are those of frames.
    """

    pieces: Iterator[bytes]
    serial: bool = False


@contextmanager
def opened(name: str, baud: int | None = None) -> Iterator[Source]:
    """Open a file, a pipe or a serial port; or take standard input for `-`.

    A serial port is raw as long as it is open, with eight bits and no parity.

    :param baud: one of :data:`SPEEDS` for a serial port; None leaves it as it is.
    :raises OSError: it cannot be opened.
    :raises Unreadable: it is a serial port that cannot be set up.
    """
    if name == "-":
        yield Source(_pieces(cast(BufferedIOBase, sys.stdin.buffer)))
        return
    # A serial port without a carrier would not open.
    flags = os.O_NOCTTY | (os.O_NONBLOCK if Path(name).is_char_device() else 0)
    with open(name, "rb", opener=lambda path, mode: os.open(path, mode | flags)) as file:
        os.set_blocking(file.fileno(), True)
        if _is_serial(file.fileno()):
            with _raw(file.fileno(), baud):
                yield Source(_pieces(file), serial=True)
        else:
            yield Source(_pieces(file))


def _is_serial(descriptor: int) -> bool:
    """Tell whether it is a terminal, and not the one that this process is used from."""
    if not os.isatty(descriptor):
        return False
    try:
        os.tcgetpgrp(descriptor)
    except OSError:
        return True
    return False


@contextmanager
def _raw(descriptor: int, baud: int | None) -> Iterator[None]:
    """Have a serial port give all its bytes, as they are."""
    before = termios.tcgetattr(descriptor)
    try:
        tty.setraw(descriptor, termios.TCSANOW)
        mode = termios.tcgetattr(descriptor)
        mode[_CONTROL_FLAGS] |= termios.CLOCAL | termios.CREAD
        if baud:
            mode[_IN_SPEED] = mode[_OUT_SPEED] = SPEEDS[baud]
        termios.tcsetattr(descriptor, termios.TCSANOW, mode)
        yield
    except termios.error as error:
        raise Unreadable(f"cannot be set up as a serial port: {error.args[1]}") from error
    finally:
        with suppress(termios.error):  # It may be gone.
            termios.tcsetattr(descriptor, termios.TCSANOW, before)


def _pieces(file: BufferedIOBase) -> Iterator[bytes]:
    try:
        while piece := file.read1(_AT_ONCE):
            yield piece
    except OSError as error:
        raise Unreadable(f"cannot be read any further: {error.strerror}") from error


def peek(pieces: Iterator[bytes], size: int) -> tuple[bytes, Iterator[bytes]]:
    """Return the first bytes, as many as these or fewer, and all the pieces."""
    head = bytearray()
    while len(head) < size and (piece := next(pieces, b"")):
        head += piece
    return bytes(head[:size]), chain([bytes(head)] if head else [], pieces)

"""A reader of files, pipes and serial ports, which returns bytes as soon as they arrive."""

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
"""Mapping from the speed of a serial port, in baud, to its constant in the module `termios`."""

_READ_SIZE = 1 << 16

_CONTROL_FLAGS, _IN_SPEED, _OUT_SPEED = 2, 4, 5


@dataclass(frozen=True, slots=True)
class ByteSource:
    """A file, a pipe or a serial port that is open for reading."""

    pieces: Iterator[bytes]
    serial: bool = False


@contextmanager
def opened(name: str, baud: int | None = None) -> Iterator[ByteSource]:
    """Context manager that opens a file, pipe, serial port (at `baud`) or, for `-`, standard input.

    While a serial port is open, it is in raw mode, with eight data bits and no parity.
    """
    if name == "-":
        yield ByteSource(_pieces(cast(BufferedIOBase, sys.stdin.buffer)))
        return
    # Without O_NONBLOCK, opening a serial port waits until the port has a carrier signal.
    flags = os.O_NOCTTY | (os.O_NONBLOCK if Path(name).is_char_device() else 0)
    with open(name, "rb", opener=lambda path, mode: os.open(path, mode | flags)) as file:
        os.set_blocking(file.fileno(), True)
        if _is_serial(file.fileno()):
            with _raw(file.fileno(), baud):
                yield ByteSource(_pieces(file), serial=True)
        else:
            yield ByteSource(_pieces(file))


def _is_serial(descriptor: int) -> bool:
    """Return True if the file is a serial port: a terminal, but not that of this process."""
    if not os.isatty(descriptor):
        return False
    try:
        os.tcgetpgrp(descriptor)
    except OSError:
        return True
    return False


@contextmanager
def _raw(descriptor: int, baud: int | None) -> Iterator[None]:
    """Context manager that keeps a serial port at `baud`, in raw mode: bytes arrive unchanged."""
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
        raise Unreadable(f"cannot be configured as a serial port: {error.args[1]}") from error
    finally:
        with suppress(termios.error):  # The serial port may have been unplugged, so ignore errors.
            termios.tcsetattr(descriptor, termios.TCSANOW, before)


def _pieces(file: BufferedIOBase) -> Iterator[bytes]:
    try:
        while piece := file.read1(_READ_SIZE):
            yield piece
    except OSError as error:
        raise Unreadable(f"cannot be read any further: {error.strerror}") from error


def peek(pieces: Iterator[bytes], size: int) -> tuple[bytes, Iterator[bytes]]:
    """Return up to `size` first bytes of a stream, and an iterator over the whole stream."""
    head = bytearray()
    while len(head) < size and (piece := next(pieces, b"")):
        head += piece
    return bytes(head[:size]), chain([bytes(head)] if head else [], pieces)

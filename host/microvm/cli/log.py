"""Writes the log of the program `microvm` to standard error.

Each line contains the seconds since the start, and its area, such as `qemu` or `wire`.
"""

from __future__ import annotations

import logging
import os
import sys
import termios
import time
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import click

from microvm import log
from microvm.cli import BEGUN
from microvm.errors import UsageError
from microvm.printable import printable

if TYPE_CHECKING:
    from microvm_proto.schema import Schema

VARIABLE = "MICROVM_LOG"
"""The environment variable for log levels, such as `debug`, or `wire=trace,qemu=debug,info`."""

_VERBOSITY = (log.WARNING, log.INFO, log.DEBUG, log.TRACE)


def listen(verbosity: int = 0) -> None:
    """Start to write the log to standard error.

    :param verbosity: Number of `-v` options. The environment variable `VARIABLE` can set a more
        verbose level, or the levels of areas.
    """
    levels = {"": _VERBOSITY[min(verbosity, len(_VERBOSITY) - 1)]}
    wanted = os.environ.get(VARIABLE, "").lower()
    for entry in filter(None, (entry.strip() for entry in wanted.split(","))):
        name, named, level = entry.rpartition("=")
        area = name.removeprefix(log.ROOT).removeprefix(".")
        known = area in log.AREAS or name == (log.ROOT if named else "")
        if not known or level not in log.LEVELS:
            raise UsageError(
                f"{VARIABLE}: {entry!r} is not [AREA=]LEVEL",
                hint=f"areas: {', '.join(log.AREAS)}; levels: {', '.join(log.LEVELS)}",
            )
        levels[area] = log.LEVELS[level] if area else min(levels[""], log.LEVELS[level])
    for area, number in levels.items():
        logging.getLogger(f"{log.ROOT}.{area}".rstrip(".")).setLevel(number)
    logging.getLogger(log.ROOT).addHandler(_STDERR)


class _StderrHandler(logging.Handler):
    """A handler of Python's module `logging` that writes a record as a line to standard error.

    Control characters are escaped, so that texts from a guest or from QEMU cannot send commands to
    the user's terminal.
    """

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno >= log.WARNING:
            return  # the user sees warnings already, because `standard_streams.notify` prints them
        area = record.name.removeprefix(f"{log.ROOT}.")
        text = f"microvm: {time.monotonic() - BEGUN:.3f} s: {area}: {record.getMessage()}"
        lines = [printable(text)]
        if frame := getattr(record, "frame", None):
            lines += _explained(frame, record.sender)  # type: ignore[attr-defined] # set with `frame`
        text = "".join(line + _line_end() for line in lines)
        with suppress(OSError):  # the verb continues even if its log cannot be written
            # click.echo would write over a progress bar, so it is not used.
            sys.stderr.write(text if sys.stderr.isatty() else click.unstyle(text))
            sys.stderr.flush()


_STDERR = _StderrHandler()


def _line_end() -> str:
    """Return the end of a line: CR LF for a terminal in raw mode (option `-t`), else LF."""
    with suppress(termios.error, OSError):
        if not termios.tcgetattr(sys.stderr.fileno())[1] & termios.OPOST:
            return "\r\n"
    return "\n"


def _explained(frame: bytes, sender: str) -> Iterator[str]:
    """Yield lines that explain a frame that `sender` has sent, as `microvm-proto explain` does."""
    from microvm_proto.explain import BrokenStream, explain

    # `explain` raises BrokenStream after its last line. Ignore this error, because the yielded
    # lines already show what is wrong with the frame.
    with suppress(BrokenStream):
        yield from explain(_schema(), [frame], sender, colour=True)


@cache
def _schema() -> Schema:
    """Return the schema of the protocol, from the installed wheel or else from the repository."""
    from microvm_proto.resolve import read_schema

    package = Path(__file__).parents[1]
    packaged = package / "_protocol/sandboxd.toml"
    checkout = package.parents[1] / "protocol/sandboxd.toml"
    return read_schema(packaged if packaged.exists() else checkout)

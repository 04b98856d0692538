"""The log on standard error: each line with its time since the command began, and its area."""

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
"""What names levels beside `-v`: `debug`, or `wire=trace,qemu=debug,info`."""

_VERBOSITY = (log.WARNING, log.INFO, log.DEBUG, log.TRACE)


def listen(verbosity: int = 0) -> None:
    """Write the log to standard error from now on.

    :param verbosity: how many `-v` were given; areas that `VARIABLE` names have their own level.
    :raises UsageError: what that names is no level, or no area.
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
    logging.getLogger(log.ROOT).addHandler(_stderr())


class _Stderr(logging.Handler):
    """A handler that writes records as lines; what a guest or QEMU said cannot move the cursor."""

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno >= log.WARNING:
            return  # `notify` says it
        area = record.name.removeprefix(f"{log.ROOT}.")
        text = f"microvm: {time.monotonic() - BEGUN:.3f} s: {area}: {record.getMessage()}"
        lines = [printable(text)]
        if frame := getattr(record, "frame", None):
            lines += _explained(frame, record.sender)  # type: ignore[attr-defined] # with it
        text = "".join(line + _line_end() for line in lines)
        with suppress(OSError):  # nobody reads it, or the disk is full
            # Not by click.echo, which goes past a bar that moves there.
            sys.stderr.write(text if sys.stderr.isatty() else click.unstyle(text))
            sys.stderr.flush()


@cache
def _stderr() -> logging.Handler:
    return _Stderr()  # the only one


def _line_end() -> str:
    """Return the end of a line: a terminal in raw mode (`-t`) does not begin the next one."""
    with suppress(termios.error, OSError):
        if not termios.tcgetattr(sys.stderr.fileno())[1] & termios.OPOST:
            return "\r\n"
    return "\n"


def _explained(frame: bytes, sender: str) -> Iterator[str]:
    """Yield the lines by which `microvm-proto explain` shows a frame."""
    from microvm_proto.explain import BrokenStream, explain

    with suppress(BrokenStream):  # its lines say so
        yield from explain(_schema(), [frame], sender, colour=True)


@cache
def _schema() -> Schema:
    """Return the schema, from an installed wheel or from the checkout."""
    from microvm_proto.resolve import read_schema

    package = Path(__file__).parents[1]
    packaged = package / "_protocol/sandboxd.toml"
    checkout = package.parents[1] / "protocol/sandboxd.toml"
    return read_schema(packaged if packaged.exists() else checkout)

"""Escapes control characters in log messages of libraries, such as the SDK of MCP.

A message can contain text from a request, whose control characters could send commands to the
user's terminal.
"""

from __future__ import annotations

import logging
import sys
import traceback

from microvm.printable import printable


def escape_messages() -> None:
    """Escape control characters in the messages of all loggers without handlers."""
    # The microvm loggers and `-v` have handlers of their own, which are safe.
    if logging.lastResort is not None:
        logging.lastResort.setFormatter(_Formatter())


def print_traceback() -> None:
    """Write the traceback of the current exception to standard error."""
    sys.stderr.write(_printable_lines(traceback.format_exc()))


class _Formatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return _printable_lines(super().format(record))


def _printable_lines(text: str) -> str:
    return "\n".join(map(printable, text.split("\n")))

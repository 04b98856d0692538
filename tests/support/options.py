"""Options of commands, checked and complete, as the public functions pass them on."""

from __future__ import annotations

from typing import Unpack

from microvm.option import ParsedOptions, parse_options
from microvm.options import ExecOptions


def exec_options(**options: Unpack[ExecOptions]) -> ParsedOptions:
    """Return the checked options of a command."""
    return parse_options(ExecOptions, options, "exec")

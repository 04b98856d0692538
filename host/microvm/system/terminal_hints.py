"""Hints for a user at a terminal: how to give a command the terminal, and how to end a command."""

from __future__ import annotations

import os
import re
import shlex
import sys
from collections.abc import Sequence

from microvm.progress import STDERR

# Programs that, without arguments, read commands from a terminal, and exit at once if they have no
# terminal.
_READS_TERMINAL = re.compile(
    r"(ba|da|a|fi|k|z)?sh|bc|cat|irb|lua|node|perl|php|psql|python[0-9.]*|ruby|sqlite3"
)


def suggest_terminal(argv: Sequence[str]) -> None:
    """Print a hint to use `-t`, if `argv` is a program such as `bash` that lacked a terminal.

    The caller has checked that the command read no input, and that standard input is a terminal. If
    standard output is no terminal, print nothing, because a script reads the output.
    """
    if len(argv) == 1 and os.isatty(1) and _READS_TERMINAL.fullmatch(argv[0].rpartition("/")[2]):
        verb, *rest = sys.argv[1:]
        typed = shlex.join(["microvm", verb, "-t", *rest])
        why = "because a command gets a terminal only with -t"
        STDERR.notify(f"{argv[0]} got no input, {why}: type `{typed}`")


def explain_interrupt(command: str, purpose: str) -> None:
    """Print that `command` continues after one Ctrl-C, and for which `purpose` to press it twice.

    :param purpose: the effect, such as "to end the machine".
    """
    if os.isatty(2):
        STDERR.notify(
            f"{command} continues after Ctrl-C; press Ctrl-C twice within a second {purpose}"
        )

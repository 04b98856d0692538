"""The hints for who uses a command on a terminal: how it gets the terminal, and how it ends."""

from __future__ import annotations

import os
import re
import shlex
import sys
from collections.abc import Sequence

from microvm.progress import STDERR

# Without an argument these talk to their user, and exit at once where there is no input.
_TALKS = re.compile(
    r"(ba|da|a|fi|k|z)?sh|bc|cat|irb|lua|node|perl|php|psql|python[0-9.]*|ruby|sqlite3"
)


def suggest_terminal(argv: Sequence[str]) -> None:
    """Say what to type for a command that wanted our terminal, and has ended without input.

    The caller knows that it has had none, and that standard input is a terminal. Nothing is said
    where standard output is none: a script reads that.
    """
    if len(argv) == 1 and os.isatty(1) and _TALKS.fullmatch(argv[0].rpartition("/")[2]):
        verb, *rest = sys.argv[1:]
        typed = shlex.join(["microvm", verb, "-t", *rest])
        why = "since a terminal is passed on with -t alone"
        STDERR.notify(f"{argv[0]} had no input, {why}: type `{typed}`")


def explain_interrupt(command: str, purpose: str) -> None:
    """Say what a second Ctrl-C does, where a command goes on after the first.

    :param purpose: what it is pressed again for, such as "to end the machine".
    """
    if os.isatty(2):
        STDERR.notify(
            f"{command} goes on after Ctrl-C; press Ctrl-C twice within a second {purpose}"
        )

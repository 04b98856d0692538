"""The commands that run once in a guest, so that what its user runs is fast.

The first command of a guest takes the longest: its kernel fills caches and patches itself, and an
emulator translates what it has not met before. The former is kept in a template, the latter not.
"""

from __future__ import annotations

import shlex
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any

from microvm.errors import ExecError
from microvm.guest.process import CompletedProcess
from microvm.printable import printable

# The ways from a request to the end of a command: a program, a shell, input and output.
_COMMANDS: tuple[tuple[list[str], dict[str, Any]], ...] = (
    (["true"], {}),
    (["sh", "-c", "echo"], {}),
    (["cat"], {"input": b"\n"}),
)
_TIMEOUT = 30.0

IMAGE_TIMEOUT = 600.0
"""Seconds that a command of the image's may take to warm a guest up."""

_OUTPUT = "16M"  # of such a command, which nobody sees


Run = Callable[..., Awaitable[CompletedProcess[Any]]]
"""The method `run` of a machine or of a guest."""


async def warm_up(run: Run) -> None:
    """Run a few commands.

    :raises MachineError: the machine died meanwhile.
    """
    for argv, options in _COMMANDS:
        # An image may have no such command: then it has at least been looked for.
        with suppress(ExecError):
            await run(argv, timeout=_TIMEOUT, **options)


async def warm_up_image(
    run: Run, commands: Sequence[Sequence[str]], notify: Callable[[str], None]
) -> None:
    """Run what the image says; what it has read and set up is then there in every clone.

    :param notify: called with a line for each that fails, which is no reason not to start.
    :raises MachineError: the machine died meanwhile.
    """
    for command in commands:
        try:
            done = await run(command, timeout=IMAGE_TIMEOUT, max_output=_OUTPUT)
        except ExecError as error:
            how = f": {error.message}"
        else:
            last = done.stderr.decode(errors="replace").strip().rpartition("\n")[2]
            why = f": {last}" if last else ""
            how = f" ended with status {done.returncode}{why}" if done.returncode else ""
        if how:
            notify(printable(f"warming up by `{shlex.join(command)}`{how}"))

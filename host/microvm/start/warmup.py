"""The commands that run once in a guest, so that what its user runs is fast.

The first command of a guest takes the longest: its kernel fills caches and patches itself, and an
emulator translates what it has not met before. The former is kept in a template, the latter not.
"""

from __future__ import annotations

import asyncio
import shlex
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from microvm.errors import ExecError, FileError
from microvm.guest.process import CompletedProcess
from microvm.log import Area
from microvm.printable import printable

if TYPE_CHECKING:
    from microvm.guest.executor import Executor

# The ways from a request to the end of a command: a program, a shell, input and output.
_COMMANDS: tuple[tuple[list[str], dict[str, Any]], ...] = (
    (["true"], {}),
    (["sh", "-c", "echo"], {}),
    (["cat"], {"input": b"\n"}),
)
_TIMEOUT = 30.0

_logger = Area("start")

_CLOCK = "/sys/devices/system/clocksource/clocksource0/current_clocksource"
_EARLY_CLOCK = b"tsc-early\n"
_CLOCK_TIMEOUT = 5.0
_CLOCK_INTERVAL = 0.1
_REST = 0.1  # for what a command leaves to be done by and by

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


async def settle(guest: Executor) -> None:
    """Wait until the kernel has the clock that it stays with, and nothing else to do.

    Debian's takes that clock a second after an emulated x86 boot, stopping all CPUs for it, and so
    would each clone of a guest that was saved before.

    :raises MachineError: the machine died meanwhile.
    """
    from microvm.guest.files import read_file

    try:
        async with asyncio.timeout(_CLOCK_TIMEOUT):
            while await read_file(guest, _CLOCK) == _EARLY_CLOCK:  # noqa: ASYNC110 - no event
                await asyncio.sleep(_CLOCK_INTERVAL)
    except (ExecError, FileError, TimeoutError) as error:  # such as of an image that is too old
        _logger.debug("the guest's clock is not known: %r", error)
    await asyncio.sleep(_REST)


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

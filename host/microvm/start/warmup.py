"""Commands that run in a guest before it is saved, so that later commands in its clones are fast.

The first command in a guest takes the longest, because the kernel fills caches and patches its
code, and an emulator translates new code. A template keeps the state of the kernel, but not the
translated code.
"""

from __future__ import annotations

import asyncio
import shlex
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

from microvm.errors import ExecError, FileError
from microvm.guest.files import read_file
from microvm.guest.guest import Guest
from microvm.guest.process import CompletedProcess
from microvm.guest.run import run
from microvm.log import Area
from microvm.printable import printable
from microvm.system.patience import patient

# Together, these commands run all code of the daemon: they start a program, start a shell, and copy
# input to output.
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
_REST = 0.1  # number of seconds to wait for work that the kernel does after a command

IMAGE_TIMEOUT = 600.0
"""Maximum number of seconds for each warm-up command that an image defines."""

_OUTPUT = "16M"  # maximum output of an image's warm-up command; the output is discarded


Run = Callable[..., Awaitable[CompletedProcess[Any]]]
"""Type of the method `run` of a machine or a guest."""


async def prepare_guest(
    guest: Guest, commands: Sequence[Sequence[str]], notify: Callable[[str], None]
) -> None:
    """Run warm-up commands in a guest, before it is saved as a template.

    :param commands: Warm-up commands that the image defines. Their effects exist in every clone.
    :param notify: Function that is called with a notice for the user for each command that fails.
        The start continues.
    """
    await warm_up(partial(run, guest))
    for command in commands:
        await _warm_up_image(guest, command, notify)
    await _settle(guest)


async def warm_up(run: Run, is_wanted: Callable[[], bool] = lambda: False) -> None:
    """Run a few commands in a guest with the function `run`, so that later commands are faster.

    :param is_wanted: Function that returns True if somebody waits for the guest. The first command
        always runs. Each further command is skipped if this function returns True.
    """
    for number, (argv, options) in enumerate(_COMMANDS):
        if number and is_wanted():
            break
        # Even a failed attempt to start a program that the image lacks warms up the kernel.
        with suppress(ExecError):
            await run(argv, timeout=patient(_TIMEOUT), **options)


async def _settle(guest: Guest) -> None:
    """Wait until the guest's kernel has selected its final clock and finished delayed work.

    On emulated x86, Debian's kernel switches to another clock one second after the boot, and stops
    all CPUs for that. If the guest were saved before, each clone would do so again.
    """
    try:
        async with asyncio.timeout(patient(_CLOCK_TIMEOUT)):
            while await read_file(guest, _CLOCK) == _EARLY_CLOCK:  # noqa: ASYNC110 - no event
                await asyncio.sleep(_CLOCK_INTERVAL)
    # If the clock cannot be read, for example because the guest is too old to copy files, do not
    # wait until the kernel has selected its final clock.
    except (ExecError, FileError, TimeoutError) as error:
        _logger.debug("cannot read the clock of the guest: %r", error)
    await asyncio.sleep(_REST)


async def _warm_up_image(
    guest: Guest, command: Sequence[str], notify: Callable[[str], None]
) -> None:
    try:
        done = await run(guest, command, timeout=patient(IMAGE_TIMEOUT), max_output=_OUTPUT)
    except ExecError as error:
        failure = f": {error.message}"
    else:
        if not done.returncode:
            return
        failure = f" exited with status {done.returncode}"
        if last := done.stderr.decode(errors="replace").strip().rpartition("\n")[2]:
            failure += f": {last}"
    notify(printable(f"the warm-up command `{shlex.join(command)}`{failure}"))

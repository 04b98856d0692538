"""The commands that run once in a guest, so that what its user runs is fast.

The first command of a guest takes the longest: its kernel fills caches and patches itself, and an
emulator translates what it has not met before. The former is kept in a template, the latter not.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

from microvm.errors import ExecError

# The ways from a request to the end of a command: a program, a shell, input and output.
_COMMANDS: tuple[tuple[list[str], dict[str, Any]], ...] = (
    (["true"], {}),
    (["sh", "-c", "echo"], {}),
    (["cat"], {"input": b"\n"}),
)
_TIMEOUT = 30.0


async def warm_up(run: Callable[..., Awaitable[object]]) -> None:
    """Run a few commands by `run`, which is the method of a machine or of a guest.

    :raises MachineError: the machine died meanwhile.
    """
    for argv, options in _COMMANDS:
        # An image may have no such command: then it has at least been looked for.
        with suppress(ExecError):
            await run(argv, timeout=_TIMEOUT, **options)

"""A test of many commands in one machine, 16 at a time. Each must answer, and leave nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

from microvm import MicroVM
from microvm.images import Image

from . import resources
from .events import quiet
from .resources import RESOURCES

AT_ONCE = 16
"""Number of commands that run at once."""

_WARM_UP = 20 * AT_ONCE  # commands before the first measurement
_GROWING = "QEMU's memory"  # not bounded here, because QEMU keeps the code that it has translated
_SCRIPT = 'read -r number; echo "$number"; echo "$number" >&2; exit $((number % 256))'


async def endure(image: Image, cache: Path, temporary: Path, count: int) -> list[str]:
    """Run `count` commands, `AT_ONCE` at a time, in one machine; return all faults as texts.

    Each command gets its number as input. It writes the number to both output streams, and exits
    with the number modulo 256.
    """
    async with MicroVM(image, commands=AT_ONCE, **quiet()) as vm:
        wrong = await _run(vm, range(_WARM_UP))
        before = await _sample(vm, cache, temporary)
        executed = (await vm.status()).execs
        wrong += await _run(vm, range(count))
        executed = (await vm.status()).execs - executed
        after = await _sample(vm, cache, temporary)
    if executed != count:
        wrong.append(f"the daemon has executed {executed} commands instead of {count}")
    return wrong + [
        f"{resource.name}: {before[resource.name]:.1f} before, {after[resource.name]:.1f} after"
        for resource in RESOURCES
        if resource.name != _GROWING
        and after[resource.name] - before[resource.name] > resource.bound.fixed
    ]


async def _run(vm: MicroVM, numbers: range) -> list[str]:
    wrong: list[str] = []
    remaining = iter(numbers)
    await asyncio.gather(*(_run_next(vm, remaining, wrong) for _ in range(AT_ONCE)))
    return wrong


async def _run_next(vm: MicroVM, remaining: Iterator[int], wrong: list[str]) -> None:
    """Run a command for each remaining number, one after another."""
    for number in remaining:
        line = b"%d\n" % number
        found = await vm.run(["sh", "-c", _SCRIPT], input=line)
        if (found.stdout, found.stderr, found.returncode) != (line, line, number % 256):
            wrong.append(f"command {number}: {found}")


async def _sample(vm: MicroVM, cache: Path, temporary: Path) -> dict[str, float]:
    return await resources.guest(vm) | resources.host(cache, temporary)

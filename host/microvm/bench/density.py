"""Measures how fast many clones start, and how much memory they use together."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack

from microvm.bench.baseline.qemu import BaselineMachine
from microvm.bench.library import LibraryMachine
from microvm.bench.report import Density
from microvm.concurrency.tasks import cancel
from microvm.system import platform
from microvm.system.capacity import usable_cpus

MeasuredMachine = LibraryMachine | BaselineMachine

_STEPS = (100, 50, 20, 10, 5, 2, 1)
_PSS = re.compile(r"^Pss:\s+(\d+) kB", re.MULTILINE)


async def measure_density(
    clone: Callable[[], Awaitable[MeasuredMachine]], count: int, advance: Callable[[int], None]
) -> Density:
    """Start `count` clones, report each to `advance`, and measure the duration and their memory.

    As many clones start at the same time as there are CPUs. No clone stops before all have started.
    All clones must answer a ping. The memory is measured afterwards, while the clones are stopped
    one by one, so that the measurement does not slow down their start.

    :param advance: Function that is called with the number of clones that have started.
    """
    machines: list[MeasuredMachine] = []
    room = asyncio.Semaphore(usable_cpus())
    async with AsyncExitStack() as owned:

        async def start() -> None:
            async with room:
                machine = await clone()
            owned.push_async_callback(machine.stop)
            machines.append(machine)
            advance(len(machines))

        begun = time.perf_counter()
        starts = [asyncio.create_task(start()) for _ in range(count)]
        try:
            await asyncio.gather(*starts)
        finally:
            await cancel(starts)
        seconds = time.perf_counter() - begun
        for machine in machines:
            await machine.ping()
        memory = {}
        for step in (count, *(step for step in _STEPS if step < count)):
            while len(machines) > step:
                await machines.pop().stop()
            sizes = [size for machine in machines if (size := pss(machine.pid)) is not None]
            if len(sizes) == step:
                memory[step] = sum(sizes) / step
    return Density(count, seconds, memory)


def pss(pid: int) -> float | None:
    """Return the proportional set size of a process in MiB; None if the host does not report it.

    In this size, a page of memory that N processes share counts as 1/N of a page.
    """
    match = _PSS.search(platform.proc(f"{pid}/smaps_rollup"))
    return int(match[1]) / 1024 if match else None

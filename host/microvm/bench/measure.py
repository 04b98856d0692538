"""Runs the benchmark: measures guests of microvm and of the baseline, plain QEMU, in turns."""

from __future__ import annotations

import asyncio
import os
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, cast

from microvm.bench import STREAM_SIZE, responder
from microvm.bench.baseline import Baseline
from microvm.bench.boot import Boot, boot_times
from microvm.bench.density import MeasuredMachine, measure_density
from microvm.bench.figures import METRICS, Figure
from microvm.bench.library import Library, LibraryMachine, clone_of
from microvm.bench.report import Density, Report, describe
from microvm.errors import ExecError, ImageError, MicroVMError, UsageError
from microvm.jobs.pool import Pool
from microvm.machine.machine import MicroVM
from microvm.machine.snapshot import Snapshot
from microvm.option import ParsedOptions
from microvm.progress import Reporter
from microvm.qemu.accel import BOOT_TIMEOUT
from microvm.system import private
from microvm.units import format_size

if TYPE_CHECKING:
    from microvm.arches import Accel
    from microvm.images import Image

Contender = Library | Baseline

STREAM_RUNS = 3

# Minimum memory of the guest in bytes: enough for a file of STREAM_SIZE bytes, and for the guest
# itself.
_LEAST_MEMORY = 3 * STREAM_SIZE

# The contenders take turns: each is measured `_TURN` times, then the other one. The first
# `_WARM_UP` measurements of a turn are not counted, because an emulator first translates new code,
# and because the other contender has filled the CPU's caches.
_TURN = 50
_WARM_UP = 10

_POLL = 0.005
_FORKS = 10

_DEFAULT = "default"  # name of the contender that is microvm with its default image


@dataclass(frozen=True, slots=True)
class Plan:
    """The plan of a run of the benchmark: the machines, and how many measurements to make.

    :ivar image: Image whose guests are measured.
    :ivar options: Options of `PoolOptions` for the machines, after `check_memory`.
    :ivar boots: Number of machines that are booted one after another. Commands run in the last one.
    :ivar execs: Number of commands to measure, and number of pings to measure.
    :ivar clones: Number of clones that are started one after another in each way; also the number
        of clones that run at the same time.
    :ivar baseline: True to measure the baseline, plain QEMU, too.
    :ivar default: Image to compare with, such as the default image, or None.
    """

    image: Image
    options: ParsedOptions
    boots: int
    execs: int
    clones: int
    baseline: bool
    default: Image | None


def check_memory(size: int) -> None:
    """Check that the guest has enough memory for the files that the benchmark copies into it.

    Half of the memory holds the guest's root file system, into which the largest file must fit.
    """
    if size < _LEAST_MEMORY:
        message = f"{format_size(size)} of memory is too little for the files of the benchmark"
        raise UsageError(message, hint=f"at least {format_size(_LEAST_MEMORY)}")


async def measure(plan: Plan, report: Reporter) -> Report:
    """Run the benchmark as planned, and return its figures. `report` receives the progress."""
    load, _, _ = os.getloadavg()
    memory = plan.options["memory"] >> 20
    options = plan.options.replace(notify=report.notice)
    with ExitStack() as owned:
        report.step("making templates")
        library = Library(plan.image, options)
        first = await library.clone()
        has_python = await _has_python(first)
        await first.stop()
        accel = cast("Accel", first.vm.accel)
        contenders: list[Contender] = [library]
        if plan.baseline:
            try:
                opened = Baseline.opened(plan.image, accel=accel, memory=memory)
                contenders.append(owned.enter_context(opened))
            except ImageError as error:
                report.notice(f"the baseline is not measured: {error.message}")
            else:
                await (await contenders[-1].clone()).stop()
        if plan.default:
            contenders.append(Library(plan.default, options, _DEFAULT))
            await (await contenders[-1].clone()).stop()
        run = _Measurement(plan, report, library, contenders, has_python=has_python)
        await run.boot()
        await run.clone()
        await run.python()
        await run.pool()
        await run.density()
        await run.snapshots()
    platform = describe(plan.image.manifest, accel=accel, memory_mib=memory, load=load)
    return Report(platform, tuple(run.boots), run.figures(), run.densities)


class _Measurement:
    """A run of the benchmark. It stores the values that it has measured for each contender."""

    def __init__(
        self,
        plan: Plan,
        report: Reporter,
        library: Library,
        contenders: list[Contender],
        *,
        has_python: bool,
    ) -> None:
        self.boots: list[Boot] = []
        self.densities: dict[str, Density] = {}
        self._plan = plan
        self._report = report
        self._library = library
        self._contenders = contenders
        self._has_python = has_python
        self._samples: defaultdict[tuple[str, str], list[float]] = defaultdict(list)

    def figures(self) -> tuple[Figure, ...]:
        """Return the figures of all metrics that were measured."""
        return tuple(
            Figure(
                metric,
                tuple(samples),
                tuple(self._samples["baseline", metric.baseline_metric]),
                tuple(self._samples[_DEFAULT, metric.name]),
            )
            for metric in METRICS
            if (samples := self._samples["microvm", metric.name])
        )

    async def boot(self) -> None:
        """Measure how long machines take to boot, one after another.

        The last machine of each contender also answers pings and runs commands.
        """
        for number in range(self._plan.boots):
            self._step("cold boots", number, self._plan.boots)
            async with AsyncExitStack() as owned:
                machines = {}
                for contender in self._contenders:
                    begun = time.monotonic()
                    machine = machines[contender] = await contender.boot()
                    ready = time.monotonic()
                    self._add(contender, "cold_ready_ms", (ready - begun) * 1e3)
                    owned.push_async_callback(machine.stop)
                    if contender is self._library and isinstance(machine, LibraryMachine):
                        self.boots.append(await boot_times(machine.vm, begun, ready))
                if number == self._plan.boots - 1:
                    await self._run_commands(machines)

    async def _run_commands(self, machines: dict[Contender, MeasuredMachine]) -> None:
        for done in range(0, self._plan.execs, _TURN):
            self._step("round trips, and commands", done, self._plan.execs)
            count = min(_TURN, self._plan.execs - done)
            for contender, machine in machines.items():
                for name, action in (("ping_ms", machine.ping), ("exec_ms", machine.run_true)):
                    for _ in range(_WARM_UP):
                        await action()
                    for _ in range(count):
                        self._add(contender, name, await _elapsed(action) * 1e3)
        for number in range(STREAM_RUNS):
            self._step(f"{STREAM_SIZE >> 20} MiB each way", number, STREAM_RUNS)
            for contender, machine in machines.items():
                megabytes = STREAM_SIZE / 1e6
                elapsed = await _elapsed(machine.read_stream)
                self._add(contender, "stdout_mb_s", megabytes / elapsed)
                elapsed = await _elapsed(machine.write_stream)
                self._add(contender, "stdin_mb_s", megabytes / elapsed)
                if isinstance(machine, LibraryMachine):
                    await self._copy_file(contender, machine)

    async def _copy_file(self, contender: Contender, machine: LibraryMachine) -> None:
        with private.temporary() as folder:
            file = Path(folder, "measured")
            file.write_bytes(bytes(STREAM_SIZE))  # noqa: ASYNC240 - nothing runs at the same time
            for name, action in (("put_mb_s", machine.put_file), ("get_mb_s", machine.get_file)):
                elapsed = await _elapsed(partial(action, file))
                self._add(contender, name, STREAM_SIZE / 1e6 / elapsed)

    async def clone(self) -> None:
        """Measure how long clones take to start, one after another."""
        for number in range(self._plan.clones):
            self._step("clones", number, self._plan.clones)
            for contender in self._contenders:
                begun = time.perf_counter()
                machine = await contender.clone()
                try:
                    self._add(contender, "warm_ready_ms", (time.perf_counter() - begun) * 1e3)
                    await machine.run_true()
                    self._add(contender, "warm_true_ms", (time.perf_counter() - begun) * 1e3)
                finally:
                    await machine.stop()
            elapsed = await _elapsed(self._library.run_process)
            self._add(self._library, "warm_run_ms", elapsed * 1e3)

    async def python(self) -> None:
        """Start clones one after another, and measure the time until each has run Python.

        If the image does not contain Python, measure nothing.
        """
        contenders = [contender for contender in self._contenders if contender.name != _DEFAULT]
        for number in range(self._plan.clones if self._has_python else 0):
            self._step("Python in clones", number, self._plan.clones)
            for contender in contenders:
                begun = time.perf_counter()
                machine = await contender.clone()
                try:
                    await machine.run_python()
                    self._add(contender, "warm_python_ms", (time.perf_counter() - begun) * 1e3)
                finally:
                    await machine.stop()

    async def pool(self) -> None:
        """Measure how long a command takes on a machine of a pool whose machines are all ready."""
        async with Pool._from_options(None, self._library.image, self._library.options) as pool:
            for number in range(self._plan.clones):
                self._step("machines from a pool", number, self._plan.clones)
                await _wait_full(pool)
                begun = time.perf_counter()
                async with pool.machine() as vm:
                    await vm.run(["echo", "hello"])
                    elapsed = time.perf_counter() - begun
                self._add(self._library, "pool_echo_ms", elapsed * 1e3)

    async def density(self) -> None:
        """Measure the start and the memory of many clones that run at the same time."""
        count = self._plan.clones
        for contender in self._contenders:
            self._report.step(f"clones alive at once, {contender.name}")
            found = await measure_density(
                contender.clone, count, partial(self._report.advance, total=count)
            )
            self.densities[contender.name] = found
            self._add(contender, "clones_per_s", count / found.seconds)
            if memory := found.memory.get(count):
                self._add(contender, "clone_pss_mib", memory)

    async def snapshots(self) -> None:
        """Measure how long a snapshot takes, and how soon a process in its clones answers."""
        machine = await self._library.clone()
        try:
            await responder.start(machine.vm, python=self._has_python)
            await self._take(machine.vm)
            async with await machine.vm.checkpoint() as snapshot:
                await self._ask(snapshot)
                self._report.step("forks alive at once")
                found = await measure_density(
                    partial(clone_of, snapshot, self._plan.options["confinement"]),
                    self._plan.clones,
                    lambda _: None,
                )
                if memory := found.memory.get(self._plan.clones):
                    self._add(self._library, "fork_pss_mib", memory)
        finally:
            await machine.stop()

    async def _take(self, vm: MicroVM) -> None:
        for number in range(self._plan.clones):
            self._step("snapshots", number, self._plan.clones)
            begun = time.perf_counter()
            async with await vm.checkpoint() as snapshot:
                self._add(self._library, "snapshot_ms", (time.perf_counter() - begun) * 1e3)
                self._add(self._library, "pause_ms", snapshot.pause * 1e3)
        begun = time.perf_counter()
        async with await vm.fork(_FORKS) as forks:
            await asyncio.gather(*map(responder.ask, forks))
            self._add(self._library, "forks_ms", (time.perf_counter() - begun) * 1e3)

    async def _ask(self, snapshot: Snapshot) -> None:
        name = "python_answer_ms" if self._has_python else "answer_ms"
        for number in range(self._plan.clones):
            self._step("answers in clones of a snapshot", number, self._plan.clones)
            begun = time.perf_counter()
            async with MicroVM(snapshot) as vm:
                await responder.ask(vm)
                self._add(self._library, name, (time.perf_counter() - begun) * 1e3)
                elapsed = await _elapsed(partial(responder.ask, vm))
                self._add(self._library, "next_answer_ms", elapsed * 1e3)

    def _add(self, contender: Contender, metric: str, sample: float) -> None:
        self._samples[contender.name, metric].append(sample)

    def _step(self, text: str, done: int, total: int) -> None:
        if done == 0:
            self._report.step(text)
        self._report.advance(done, total)


async def _has_python(machine: LibraryMachine) -> bool:
    try:
        await machine.run_python()
    except ExecError:
        return False
    return True


async def _wait_full(pool: Pool) -> None:
    """Wait until all machines of the pool are ready to be taken."""
    try:
        async with asyncio.timeout(BOOT_TIMEOUT):
            while pool.ready < pool.size:  # noqa: ASYNC110 - a pool has no such event
                await asyncio.sleep(_POLL)
    except TimeoutError:
        raise MicroVMError(f"the pool was not full within {BOOT_TIMEOUT:g} s") from None


async def _elapsed(action: Callable[[], Awaitable[None]]) -> float:
    begun = time.perf_counter()
    await action()
    return time.perf_counter() - begun

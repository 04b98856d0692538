"""The measuring: real guests, and a clock beside them."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from subprocess import PIPE
from typing import TYPE_CHECKING, Literal

from microvm.bench.platform import describe
from microvm.bench.report import Boot, Latencies, Report, Throughput
from microvm.errors import MicroVMError
from microvm.life import StartTimes
from microvm.machine import MicroVM
from microvm.units import parse_memory

if TYPE_CHECKING:
    from microvm_image.image import Image

EXEC_COMMAND = ("true",)

# Large reads and writes by one process: what is measured is the way, not its ends.
STREAM_SIZE = 64 << 20
STDOUT_COMMAND = ("dd", "if=/dev/zero", "bs=64k", f"count={STREAM_SIZE >> 16}")
STDIN_COMMAND = ("dd", "of=/dev/null", "bs=64k")
STREAM_RUNS = 3

# An emulator translates code when it first meets it: these runs are not counted.
_WARM_UP = 20

_CLOCK_READINGS = 20


@dataclass(frozen=True, slots=True)
class Plan:
    """What to measure, and on which machine.

    :ivar memory: as `MicroVM` takes it.
    :ivar boots: how many machines are booted, one after the other; the last one runs the rest.
    :ivar execs: how many commands it runs, and how many pings it answers.
    """

    image: Image
    memory: str = "256M"
    accel: Literal["auto", "kvm", "tcg"] = "auto"
    boots: int = 5
    execs: int = 200


async def measure(
    plan: Plan,
    *,
    progress: Callable[[str], None] = lambda _: None,
    notify: Callable[[str], None] = lambda _: None,
) -> Report:
    """Measure what `plan` says.

    :param progress: called with what is measured next.
    :param notify: called with lines that a user should see once; see `MicroVM`.
    :raise MicroVMError: a machine does not boot, or dies, or a command does not do its work.
    """
    boots = []
    for number in range(1, plan.boots):
        progress(f"boot {number} of {plan.boots}")
        async with _machine(plan, notify) as vm:
            boots.append(await boot(vm))
    progress(f"boot {plan.boots} of {plan.boots}")
    async with _machine(plan, notify) as vm:
        boots.append(await boot(vm))
        progress(f"{plan.execs} pings")
        pings = await latencies(vm.ping, plan.execs)
        progress(f"{plan.execs} executions of {' '.join(EXEC_COMMAND)}")
        execs = await latencies(lambda: _run(vm, EXEC_COMMAND, 0), plan.execs)
        progress(f"{STREAM_RUNS} times {STREAM_SIZE >> 20} MiB of output, and of input")
        stdout = await throughput(STDOUT_COMMAND, lambda: _run(vm, STDOUT_COMMAND, STREAM_SIZE))
        stdin = await throughput(STDIN_COMMAND, lambda: _feed(vm, STDIN_COMMAND, STREAM_SIZE))
    memory = parse_memory(plan.memory)
    platform = describe(plan.image.manifest, accel=vm.accel, memory_mib=memory)
    return Report(platform, tuple(boots), pings, EXEC_COMMAND, execs, stdout, stdin)


def _machine(plan: Plan, notify: Callable[[str], None]) -> MicroVM:
    return MicroVM(plan.image, memory=plan.memory, accel=plan.accel, cold=True, notify=notify)


async def boot(vm: MicroVM) -> Boot:
    """Return how a machine that has just become ready spent its start."""
    times = vm.times
    if times is None:
        raise MicroVMError("the machine has not booted")
    return _split(times, *await _daemon_times(vm))


def _split(times: StartTimes, started: float, opened: float) -> Boot:
    return Boot(
        qemu=times.running - times.begun,
        kernel=started - times.running,
        daemon=opened - started,
        handshake=times.ready - opened,
    )


async def _daemon_times(vm: MicroVM) -> tuple[float, float]:
    """When the daemon started and when it had opened its port, by the host's clock.

    The guest reads its clock between our request and its answer; of several readings, the one with
    the shortest time between the two places it best, as in NTP.
    """
    readings = [await _read_clock(vm) for _ in range(_CLOCK_READINGS)]
    _, offset, started, opened = min(readings)
    return started + offset, opened + offset


async def _read_clock(vm: MicroVM) -> tuple[float, float, float, float]:
    """The round trip, what to add to the guest's clock, and its two moments; in seconds."""
    before = time.monotonic()
    status = await vm.status()
    after = time.monotonic()
    now, started, opened = (
        nanoseconds / 1e9 for nanoseconds in (status.now_ns, status.started_ns, status.opened_ns)
    )
    return after - before, (before + after) / 2 - now, started, opened


async def latencies(action: Callable[[], Awaitable[object]], count: int) -> Latencies:
    """Time an action, `count` times after a warm-up."""
    samples = [await _elapsed(action) for _ in range(_WARM_UP + count)]
    return Latencies(tuple(samples[_WARM_UP:]))


async def throughput(
    command: tuple[str, ...], action: Callable[[], Awaitable[object]]
) -> Throughput:
    """Time an action that moves `STREAM_SIZE` bytes to or from `command`."""
    elapsed = [await _elapsed(action) for _ in range(STREAM_RUNS)]
    return Throughput(command, STREAM_SIZE, Latencies(tuple(elapsed)))


async def _elapsed(action: Callable[[], Awaitable[object]]) -> float:
    begun = time.perf_counter()
    await action()
    return time.perf_counter() - begun


async def _run(vm: MicroVM, command: tuple[str, ...], size: int) -> None:
    """Run a command that must succeed and write `size` bytes, which are thrown away."""
    async with await vm.exec(command) as process:
        received = 0
        async for chunk in process.stdout:
            received += len(chunk)
        if (await process.wait(), received) != (0, size):
            name = " ".join(command)
            raise MicroVMError(f"{name}: status {process.returncode}, {received} bytes of output")


async def _feed(vm: MicroVM, command: tuple[str, ...], size: int) -> None:
    """Run a command that must succeed, and feed it `size` bytes."""
    async with await vm.exec(command, stdin=PIPE) as process:
        assert process.stdin is not None  # noqa: S101 - PIPE
        block = bytes(1 << 16)
        for _ in range(size // len(block)):
            process.stdin.write(block)
            await process.stdin.drain()
        process.stdin.close()
        if await process.wait() != 0:
            raise MicroVMError(f"{' '.join(command)}: status {process.returncode}")

"""Measures commands that run at once in a machine, and connections to servers in its guest.

python -m microvm.bench.several prints a table of docs/performance.md. The guest needs busybox.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

from microvm.bench import STREAM_SIZE
from microvm.bench.figures import formatted, percentile
from microvm.bench.library import LibraryMachine
from microvm.machine.machine import MicroVM

Row = tuple[str, float, float]
"""A row of the table: a title, a measured value, and its ratio to the value that
docs/performance.md compares it with.
"""

_AT_ONCE = 16
_ROUNDS = 20
_STREAM_RUNS = 5
_FLOOD_SECONDS = 3.0
_BLOCK = bytes(1 << 16)
_FLOODS = ("sh", "-c", "yes & exec yes >&2")
_FLOOD = ("dd", "if=/dev/zero", "bs=64k")
_PIPED_SIZE = 1 << 30

# A server in the guest listens on each of these ports, and runs the port's program for each client.
_GREETS, _SENDS, _READS = 7000, 7001, 7002
_SERVERS = {
    _GREETS: "echo hello",
    _SENDS: f"dd if=/dev/zero bs=64k count={STREAM_SIZE >> 16}",
    _READS: "dd of=/dev/null bs=64k",
}


async def measure() -> list[Row]:
    """Start a machine of the default image, measure everything in it, and return the table."""
    async with MicroVM(commands=_AT_ONCE) as vm:
        for port, program in _SERVERS.items():
            server = f"nc -lk -p {port} -e {program} >/dev/null 2>&1 &"
            listens = f"until netstat -ltn | grep -q :{port}; do sleep 0.1; done"
            await vm.run(f"{server} {listens}", shell=True, check=True, timeout=10)
        machine = LibraryMachine(vm)
        await _several_times(machine.run_true)
        await _connection(vm)
        return [
            *await _commands(machine),
            *await _floods(vm),
            *await _connections(vm),
            *await _streams(machine),
        ]


async def _commands(machine: LibraryMachine) -> list[Row]:
    alone: list[float] = []
    together: list[float] = []
    for _ in range(_ROUNDS):
        alone += await _several_times(machine.run_true)
        together.append(await _together(machine.run_true) / _AT_ONCE)
    beside: list[float] = []
    async with _running(machine.vm, _FLOODS):
        for _ in range(_ROUNDS):
            beside += await _several_times(machine.run_true)
    return [
        _time("true alone", alone, alone),
        _time(f"true, {_AT_ONCE} at once, for each", together, alone),
        _time("true beside floods of both streams", beside, alone),
        _time("true beside floods of both streams, the slowest of 100", beside, alone, 99),
    ]


async def _floods(vm: MicroVM) -> list[Row]:
    floods: dict[int, float] = {}
    pairs: dict[int, float] = {}
    for count in (1, 4, _AT_ONCE):
        floods[count] = await _flood_rate(vm, count)
        pairs[count] = await _pair_rate(vm, count)
    return [
        (f"{name} {count} at once, MB/s", rate, rate / rates[1])
        for name, rates in (("output of", floods), ("pairs of dd in the guest,", pairs))
        for count, rate in rates.items()
    ]


async def _flood_rate(vm: MicroVM, count: int) -> float:
    """Let `count` commands write output at once, and return their total rate in MB/s."""
    received = [0]
    begun = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for _ in range(count):
            group.create_task(_flood(vm, received))
    return received[0] / 1e6 / (time.perf_counter() - begun)


async def _pair_rate(vm: MicroVM, count: int) -> float:
    """Run `count` pairs of `dd` in the guest at once, and return their total rate in MB/s.

    The first `dd` of a pair writes to the second one through a pipe, without microvm. So the rates
    show how much the emulator alone slows down when the guest switches between more processes.
    """
    blocks = _PIPED_SIZE // count >> 16
    pair = f"dd if=/dev/zero bs=64k count={blocks} | dd of=/dev/null bs=64k"
    script = f"for n in $(seq {count}); do {pair} & done 2>/dev/null; wait"
    seconds = await _elapsed(lambda: vm.run(["sh", "-c", script], check=True))
    return (blocks << 16) * count / 1e6 / seconds


async def _flood(vm: MicroVM, received: list[int]) -> None:
    async with _running(vm, _FLOOD, received):
        await asyncio.sleep(_FLOOD_SECONDS)


@asynccontextmanager
async def _running(
    vm: MicroVM, argv: Sequence[str], received: list[int] | None = None
) -> AsyncIterator[None]:
    """Context manager: run a command during its block, and read the command's output.

    :param received: List of one number, to which the number of bytes of the command's output is
        added.
    """
    counts = [0] if received is None else received
    process = await vm.exec(argv)
    async with asyncio.TaskGroup() as group:
        for stream in (process.stdout, process.stderr):
            group.create_task(_read(stream, counts))
        yield
        process.kill()
    await process.wait()


async def _read(stream: AsyncIterator[bytes], counts: list[int]) -> None:
    async for chunk in stream:
        counts[0] += len(chunk)


async def _connections(vm: MicroVM) -> list[Row]:
    async def run_nc() -> None:
        result = await vm.run(["nc", "127.0.0.1", str(_GREETS)], check=True)
        assert result.stdout == b"hello\n"  # noqa: S101 - our server sends it

    commands: list[float] = []
    alone: list[list[float]] = []
    beside: list[list[float]] = []
    for _ in range(_ROUNDS):
        commands += await _several_times(run_nc)
        alone += [await _connection(vm) for _ in range(_AT_ONCE)]
        # While this connection is open, `relay` runs.
        _, writer = await vm.connect(_READS)
        beside += [await _connection(vm) for _ in range(_AT_ONCE)]
        writer.close()
        await writer.wait_closed()
    titles = ("connect", "connect to the first byte", "connect, read to the end and close")
    return [
        _time("nc in the guest", commands, commands),
        *(
            _time(f"{title}{condition}", list(samples), commands)
            for condition, times in (("", alone), (", relay runs", beside))
            for title, samples in zip(titles, zip(*times, strict=True), strict=True)
        ),
    ]


async def _connection(vm: MicroVM) -> list[float]:
    """Connect to the server that greets, read to the end, and close the connection.

    Return the seconds until the connection was open, until the first byte, and until the end.
    """
    begun = time.perf_counter()
    reader, writer = await vm.connect(_GREETS)
    moments = [time.perf_counter()]
    first = await reader.readexactly(1)
    moments.append(time.perf_counter())
    assert first + await reader.read() == b"hello\n"  # noqa: S101 - our server sends it
    writer.close()
    await writer.wait_closed()
    moments.append(time.perf_counter())
    return [each - begun for each in moments]


async def _streams(machine: LibraryMachine) -> list[Row]:
    async def download() -> None:
        reader, writer = await machine.vm.connect(_SENDS)
        while await reader.read(len(_BLOCK)):
            pass
        writer.close()
        await writer.wait_closed()

    async def upload() -> None:
        reader, writer = await machine.vm.connect(_READS)
        for _ in range(STREAM_SIZE // len(_BLOCK)):
            writer.write(_BLOCK)
            await writer.drain()
        writer.write_eof()
        await reader.read()
        writer.close()
        await writer.wait_closed()

    rows = []
    for name, action, standard in (
        ("a stream from the guest, and standard output", download, machine.read_stream),
        ("a stream to the guest, and standard input", upload, machine.write_stream),
    ):
        times = [(await _elapsed(action), await _elapsed(standard)) for _ in range(_STREAM_RUNS)]
        rates = [
            [STREAM_SIZE / 1e6 / each for each in column] for column in zip(*times, strict=True)
        ]
        stream, other = (percentile(column, 50) for column in rates)
        rows.append((f"{name}, MB/s", stream, stream / other))
    return rows


def _time(title: str, samples: list[float], others: list[float], percent: float = 50) -> Row:
    value = percentile(samples, percent)
    return f"{title}, ms", value * 1e3, value / percentile(others, percent)


async def _several_times(action: Callable[[], Awaitable[None]]) -> list[float]:
    return [await _elapsed(action) for _ in range(_AT_ONCE)]


async def _together(action: Callable[[], Awaitable[None]]) -> float:
    return await _elapsed(lambda: asyncio.gather(*(action() for _ in range(_AT_ONCE))))


async def _elapsed(action: Callable[[], Awaitable[object]]) -> float:
    begun = time.perf_counter()
    await action()
    return time.perf_counter() - begun


if __name__ == "__main__":
    print("| | | ratio |\n|---|---|---|")
    for title, value, ratio in asyncio.run(measure()):
        print(f"| {title} | {formatted(value)} | {ratio:.2f} |")

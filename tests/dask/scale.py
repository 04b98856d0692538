"""`python -m tests.dask.scale WHAT`: measure how batches scale on a Dask cluster on this host.

`million` measures the memory of client, scheduler and worker over many jobs, and the CPU time per
job, with simulated machines. `rate` compares `microvm map` with and without a cluster. `growth`
uses more and more workers, each of which has the same share of a processor by a cgroup.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from distributed import Client, Scheduler, Worker
from distributed.deploy.subprocess import SubprocessCluster
from tests.support.polling import eventually
from tests.support.processes import children, cpu, memory

import microvm.dask
from microvm import CompletedProcess
from microvm.dask import worker
from microvm_image import default

# The folders of the cpu controller in cgroups v2 and v1.
_CONTROLLERS = Path("/sys/fs/cgroup"), Path("/sys/fs/cgroup/cpu")

_PERIOD = 100_000  # period of a share, in microseconds


class NoMachines:
    """A replacement of a worker's pool, whose simulated machines run nothing."""

    def __init__(self, *_: object, **__: object) -> None:
        pass

    async def __aenter__(self) -> NoMachines:
        return self

    async def __aexit__(self, *_: object) -> None:
        pass

    @asynccontextmanager
    async def machine(self) -> AsyncIterator[NoMachines]:
        """Yield a simulated machine."""
        yield self

    async def _run(self, argv: Any, _: object) -> CompletedProcess[bytes]:
        """Return the result of `true`."""
        return CompletedProcess(argv, 0, b"", b"")


@asynccontextmanager
async def cluster(workers: int, threads: int = 1) -> AsyncIterator[Client]:
    """Yield a client of a cluster, whose parts are processes of their own."""
    there = SubprocessCluster(
        n_workers=workers,
        threads_per_worker=threads,
        scheduler_kwargs={"dashboard": False},
        worker_kwargs={"dashboard": False},
        asynchronous=True,
    )
    async with there, Client(there, asynchronous=True) as client:
        await client.wait_for_workers(workers)
        yield client


@dataclass(frozen=True, slots=True)
class Sample:
    """The state of client, scheduler and a worker after a number of jobs.

    :ivar clock: time in seconds.
    :ivar memory: resident memory of each of the three, in MiB.
    :ivar cpu: CPU time of each, in seconds.
    :ivar left: number of jobs that each still knows.
    """

    jobs: int
    clock: float
    memory: list[float]
    cpu: list[float]
    left: dict[str, int]

    @classmethod
    async def of(cls, client: Client, jobs: int) -> Sample:
        """Return a sample of a client's cluster. The client is this process."""
        found = await client.run_on_scheduler(_in_scheduler)
        in_worker = next(iter((await client.run(_in_worker)).values()))
        pids = [os.getpid(), found.pop("pid"), in_worker.pop("pid")]
        futures = sum(len(each.futures) for each in list(Client._instances))
        return cls(
            jobs,
            time.monotonic(),
            [memory(each) / 1024 for each in pids],
            [cpu(each) for each in pids],
            {"futures": futures, **found, **in_worker},
        )


def _in_scheduler(dask_scheduler: Scheduler) -> dict[str, int]:
    spans = dask_scheduler.extensions["spans"].spans.values()
    notes = sum(len(each.metadata["collections"]) for each in spans)
    return {"pid": os.getpid(), "tasks": len(dask_scheduler.tasks), "notes": notes}


def _in_worker(dask_worker: Worker) -> dict[str, int]:
    return {"pid": os.getpid(), "tasks of a worker": len(dask_worker.state.tasks)}


async def stubbed(jobs: int, workers: int, threads: int, every: int) -> AsyncIterator[Sample]:
    """Run jobs through client, scheduler and workers without machines.

    :return: a sample after the first job, then at each interval, and at the end.
    """
    async with cluster(workers, threads) as client:
        await client.run(setattr, worker, "Pool", NoMachines)
        commands = (["true"] for _ in range(jobs))
        ended = 0
        async for outcome in microvm.dask.map(commands, client=client, image=default()):
            outcome.result().check_returncode()
            if ended % every == 0:
                yield await Sample.of(client, ended)
            ended += 1
        yield await Sample.of(client, ended)


@click.group(help=__doc__)
def main() -> None:
    """Measure and print the results."""


@main.command()
@click.option("--jobs", default=1_000_000, show_default=True)
@click.option("--workers", default=2, show_default=True)
@click.option("--threads", default=4, show_default=True)
@click.option("--samples", default=20, show_default=True)
def million(jobs: int, workers: int, threads: int, samples: int) -> None:
    """Measure the memory of client and scheduler over many jobs with simulated machines."""

    async def show() -> None:
        of_each = "client | scheduler | a worker"
        click.echo(f"| jobs | jobs/s | MiB: {of_each} | CPU ms a job: {of_each} | left |")
        click.echo("|---" * 9 + "|")
        before = None
        async for now in stubbed(jobs, workers, threads, jobs // samples):
            if before is not None:
                number = now.jobs - before.jobs
                cells = [f"{now.jobs:,}", f"{number / (now.clock - before.clock):.0f}"]
                cells += [f"{each:.1f}" for each in now.memory]
                for end, begin in zip(now.cpu, before.cpu, strict=True):
                    cells.append(f"{(end - begin) * 1e3 / number:.2f}")
                left = ", ".join(f"{name}: {number}" for name, number in now.left.items())
                click.echo(f"| {' | '.join(cells)} | {left} |")
            before = now

    asyncio.run(show())


def mapped(jobs: int, machines: int, options: list[str]) -> tuple[float, float]:
    """Run `true` with `microvm map` this many times in this many machines.

    :return: jobs per second from the first result to the last, and the CPU time per job of all
        processes in milliseconds.
    """
    command = [sys.executable, "-m", "microvm", "map", "-", "-j", str(machines), *options]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(b"true\n" * jobs)
        process.stdin.close()
        process.stdout.readline()
        began, used = time.monotonic(), _cpu_of_all(process.pid)
        for _ in range(jobs - 1):
            if not process.stdout.readline():
                raise click.ClickException("it has ended before its jobs")
        seconds, used = time.monotonic() - began, _cpu_of_all(process.pid) - used
    return (jobs - 1) / seconds, used * 1e3 / (jobs - 1)


def _cpu_of_all(pid: int) -> float:
    """Return the CPU time of a process and all its descendants, including exited ones."""
    return cpu(pid) + sum(map(_cpu_of_all, children(pid)))


@main.command()
@click.option("--jobs", default=200, show_default=True, help="In each run.")
@click.option("--machines", default=2, show_default=True, help="And workers.")
@click.option("--rounds", default=5, show_default=True)
def rate(jobs: int, machines: int, rounds: int) -> None:
    """Compare the jobs per second of `microvm map` with and without `--scheduler`."""
    ways = {"microvm map": [], "with --scheduler": ["--scheduler", f"local:{machines}"]}
    mapped(2, machines, [])  # does the one-time work
    runs: dict[str, list[tuple[float, float]]] = {way: [] for way in ways}
    for _ in range(rounds):
        for way, options in ways.items():
            runs[way].append(mapped(jobs, machines, options))
    click.echo("| median (all) | jobs/s | CPU ms a job |")
    click.echo("|---" * 3 + "|")
    for way, found in runs.items():
        cells = [f"{statistics.median(each):.1f} {each}" for each in _columns(found)]
        click.echo(f"| {way} | {' | '.join(cells)} |")
    alone, on_cluster = (statistics.median(next(_columns(found))) for found in runs.values())
    click.echo(f"ratio {on_cluster / alone:.2f}")


def _columns(runs: list[tuple[float, float]]) -> Iterator[tuple[float, ...]]:
    for column in zip(*runs, strict=True):
        yield tuple(round(each, 1) for each in column)


@contextmanager
def share(percent: int) -> Iterator[Path]:
    """Create a cgroup with a share of one processor, and in it a cgroup for processes."""
    top = next(each for each in _CONTROLLERS if (each / "cgroup.procs").exists())
    group = Path(tempfile.mkdtemp(prefix="microvm-scale-", dir=top))
    inside = group / "worker"
    try:
        quota = percent * _PERIOD // 100
        if (group / "cpu.cfs_quota_us").exists():
            (group / "cpu.cfs_quota_us").write_text(str(quota))
        else:
            (group / "cpu.max").write_text(f"{quota} {_PERIOD}")
        inside.mkdir()
        yield inside
    finally:
        if inside.exists():
            eventually(lambda: not (inside / "cgroup.procs").read_text())
            inside.rmdir()
        group.rmdir()


async def shared(jobs: int, workers: int, percent: int) -> float:
    """Run `true` with this many workers, each with a share; return the jobs per second."""
    async with AsyncExitStack() as stack:
        groups = [stack.enter_context(share(percent)) for _ in range(workers)]
        client = await stack.enter_async_context(cluster(workers))
        for group, pid in zip(groups, (await client.run(os.getpid)).values(), strict=True):
            (group / "cgroup.procs").write_text(str(pid))
        commands = [["true"]] * jobs
        ends = [
            time.monotonic()
            async for _ in microvm.dask.map(commands, client=client, image=default(), ordered=False)
        ]
    return (len(ends) - workers) / (ends[-1] - ends[workers - 1])


@main.command()
@click.option("--jobs", default=40, show_default=True, help="For each worker.")
@click.option("--percent", default=20, show_default=True, help="Of one processor, to a worker.")
@click.argument("workers", nargs=-1, type=int)
def growth(jobs: int, percent: int, workers: tuple[int, ...]) -> None:
    """Measure the jobs per second of 1, 2, 4 and 8 workers, or of WORKERS. It requires root."""
    rates: dict[int, float] = {}
    click.echo("| workers | jobs/s | of linear |")
    click.echo("|---" * 3 + "|")
    for each in workers or (1, 2, 4, 8):
        rates[each] = asyncio.run(shared(jobs * each, each, percent))
        number, rate = next(iter(rates.items()))
        click.echo(f"| {each} | {rates[each]:.2f} | {rates[each] / each / (rate / number):.0%} |")


if __name__ == "__main__":
    main()

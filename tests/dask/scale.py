"""`python -m tests.dask.scale WHAT`: how batches on a cluster of Dask's scale, on this host.

`million` shows the memory of client, scheduler and a worker over many jobs, and what each job takes
of their processors; only there the machines are stubbed out. `rate` has the same jobs run by
`microvm map` with a cluster and without one, in turn. `growth` has them run by ever more workers,
each of which has the same share of a processor, by a cgroup.
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

# The groups of the controller of processors: of version 2 of cgroups, and of 1.
_CONTROLLERS = Path("/sys/fs/cgroup"), Path("/sys/fs/cgroup/cpu")

_PERIOD = 100_000  # of a share, in microseconds


class NoMachines:
    """A stand-in for a worker's pool, whose machines are none, and run nothing."""

    def __init__(self, *_: object, **__: object) -> None:
        pass

    async def __aenter__(self) -> NoMachines:
        return self

    async def __aexit__(self, *_: object) -> None:
        pass

    @asynccontextmanager
    async def machine(self) -> AsyncIterator[NoMachines]:
        """Yield what a machine would be."""
        yield self

    async def run(self, argv: Any, **_: object) -> CompletedProcess[bytes]:
        """Return what `true` would have come to."""
        return CompletedProcess(argv, 0, b"", b"")


@asynccontextmanager
async def cluster(workers: int, threads: int = 1) -> AsyncIterator[Client]:
    """Yield a client of a cluster, each part of which is a process of its own."""
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
    """What client, scheduler and a worker have after so many jobs.

    :ivar clock: the time, in seconds.
    :ivar memory: what is resident of each of the three, in MiB.
    :ivar cpu: what each has taken of the processors, in seconds.
    :ivar left: what they know of jobs, in numbers.
    """

    jobs: int
    clock: float
    memory: list[float]
    cpu: list[float]
    left: dict[str, int]

    @classmethod
    async def of(cls, client: Client, jobs: int) -> Sample:
        """Look at those of a client's cluster; the client is this process."""
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
    """Have jobs go through client, scheduler and workers without machines.

    :return: what there is after the first job, then as often as is said, and at the end.
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
    """Measure and print."""


@main.command()
@click.option("--jobs", default=1_000_000, show_default=True)
@click.option("--workers", default=2, show_default=True)
@click.option("--threads", default=4, show_default=True)
@click.option("--samples", default=20, show_default=True)
def million(jobs: int, workers: int, threads: int, samples: int) -> None:
    """Memory of client and scheduler over many jobs; the machines are stubbed out."""

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
    """Have `true` run by `microvm map` so many times, in so many machines.

    :return: jobs a second, from the first result to the last, and what a job took of the
        processors in all processes together, in milliseconds.
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
    """Return what a process and all below it, the dead too, have taken of the processors."""
    return cpu(pid) + sum(map(_cpu_of_all, children(pid)))


@main.command()
@click.option("--jobs", default=200, show_default=True, help="In each run.")
@click.option("--machines", default=2, show_default=True, help="And workers.")
@click.option("--rounds", default=5, show_default=True)
def rate(jobs: int, machines: int, rounds: int) -> None:
    """Jobs a second of `microvm map`, and with `--scheduler`, in as many machines."""
    ways = {"microvm map": [], "with --scheduler": ["--scheduler", f"local:{machines}"]}
    mapped(2, machines, [])  # makes what is made once
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
    """Make a group that has so much of one processor, and in it one for processes."""
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
    """Have `true` run by so many workers, each with a share; return the jobs a second."""
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
    """Jobs a second of so many WORKERS, by default 1, 2, 4 and 8, each with a share; takes root."""
    rates: dict[int, float] = {}
    click.echo("| workers | jobs/s | of linear |")
    click.echo("|---" * 3 + "|")
    for each in workers or (1, 2, 4, 8):
        rates[each] = asyncio.run(shared(jobs * each, each, percent))
        number, rate = next(iter(rates.items()))
        click.echo(f"| {each} | {rates[each]:.2f} | {rates[each] / each / (rate / number):.0%} |")


if __name__ == "__main__":
    main()

"""`microvm map`: run many commands, each in a new machine."""

from __future__ import annotations

import asyncio
import math
import os
import signal
import stat
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager, suppress
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import click

from microvm.cli import (
    docker_hints,
    names,
    parameters,
    pooled,
    snapshot_parameters,
    standard_streams,
)
from microvm.cli.signals import run_until_signal
from microvm.concurrency.tasks import cancel
from microvm.errors import MicroVMError, NotRun, how_to_install
from microvm.guest.stdio import read_lines, write
from microvm.images import Image
from microvm.jobs.file import LineJob, parse, report, status
from microvm.jobs.job import Outcome
from microvm.jobs.machine_pool import MachinePool
from microvm.jobs.pool import Pool
from microvm.machine.snapshot import Snapshot
from microvm.option import complete_options
from microvm.options import ExecOptions, ImageOptions, PoolChoice, PoolOptions, RunOptions
from microvm.progress import STDERR
from microvm.system.capacity import usable_cpus

# Interval in seconds at which the number of machines or workers in the progress bar is updated. It
# is long, because for each update, a cluster sends data about all of its workers.
_REFRESH_INTERVAL = 2.0

# Maximum length of an input line, in bytes. A line contains a job with its standard input.
_LINE_LIMIT = 16 << 20


@click.command("map", cls=docker_hints.HintingCommand)
@parameters.option(
    "-j --jobs N",
    "Run this number of machines at the same time. [default: the number of CPUs, or with --pool "
    "the maximum of the pool if that is larger]",
    callback=parameters.count(1),
)
@click.option("--ordered", is_flag=True, help="Print the results in the order of the jobs.")
@parameters.option(
    "--scheduler ADDRESS",
    "Run the jobs on a Dask cluster, such as tcp://HOST:8786, or in N local Dask workers with "
    "local:N.",
)
@parameters.option(
    "--registry docker://HOST/REPOSITORY",
    "With --scheduler: push the image or snapshot to this registry, from which the workers "
    "pull it.",
)
@parameters.options(PoolChoice, "map")
@parameters.options(ImageOptions, "map")
@snapshot_parameters.from_snapshot
@parameters.options(PoolOptions, "map")
@parameters.options(ExecOptions, "map")
@parameters.verbose
@click.argument("file", type=click.Path(exists=True, dir_okay=False, allow_dash=True))
def map(  # noqa: A001 - the verb's name
    file: str,
    jobs: int | None,
    ordered: bool,
    scheduler: str | None,
    registry: str | None,
    pool: str | None,
    image: str | None,
    snapshot: str | None,
    **options: Any,
) -> None:
    """Run each line of FILE as a command in a new machine.

    If FILE is `-`, the lines are read from standard input. Each line is one job:

    \b
      uname -a | cut -c1-5           text: a command for `sh -c`
      ["echo", "hello"]              a JSON array: the command and its arguments
      {"argv": ["cat"], "id": "c1", "stdin": "hello", "env": {"A": "1"},
       "cwd": "/tmp", "user": "nobody", "timeout": "5s",
       "files": {"in.txt": "text", "/srv/x": {"base64": "/w=="}}, "collect": ["out.txt"]}
                                     a JSON object, which can also contain the options
                                     of a command, such as --max-output as max_output

    A line that begins with `[` or `{` is JSON. Empty lines and lines that begin with `#` are
    skipped. If FILE is a regular file, all lines are checked before the first job is run. If it is
    a pipe, it is read while jobs are run; at an invalid line, the jobs before it are finished, and
    the remaining lines are not run.

    The files in `files` are written into the machine before the command is run. The files that
    `collect` names are read after the command, even if it failed, and --max-output also limits
    their total size. The result contains them as `files`, an object of paths with text or with an
    object that contains base64. A file of `collect` that does not exist is an error. `collect` may
    also name files by patterns, such as out/*.csv, each of which must match a file.

    The result of each job is printed as a line of JSON when the job is finished. The members are
    line, id (if the job has an id), argv, status (the exit status that `microvm run` would have),
    signal, reason, stdout, stderr, seconds, memory and error. Data that is not UTF-8 is in
    argv_base64, stdout_base64 or stderr_base64 instead. In a job, use argv_base64 and stdin_base64
    for such data.

    A machine that fails to start is started again after a pause. If no machine can be started, the
    remaining jobs are not run, and the result of each has status 125 and reason NotRun. The exit
    status is:

    \b
      0       every job had status 0
      1       at least one job had another status
      2       the usage was wrong, or a line of FILE was invalid
      125     microvm failed, or no machine could be started
      128+N   signal N ended microvm: 130 for Ctrl-C, 141 if the reader closed the pipe
    """  # noqa: D301 - `\b` tells click to keep the lines
    if registry is not None and scheduler is None:
        raise click.UsageError("--registry is for the workers of a cluster: add --scheduler")
    machine = parameters.given_options(PoolOptions, options)
    command_options = parameters.given_options(RunOptions, options)
    descriptor = 0 if file == "-" else os.open(file, os.O_RDONLY | os.O_CLOEXEC)
    lines = _JobLines(descriptor, command_options.pop("env"))
    start = (
        partial(names.find_image, image, machine.get("arch"))
        if snapshot is None
        else partial(snapshot_parameters.find, snapshot, image)
    )
    # if several machines give the same notice, print it only once
    machine["notify"] = cache(standard_streams.notify)
    attached = None
    if pool is not None and scheduler is None:
        attached = pooled.attach(pool, jobs, machine, image=image, snapshot=snapshot)
    if attached is not None:
        run = partial(_in_pool, lambda _: attached)
    elif scheduler is None:
        jobs = jobs or usable_cpus()
        run = partial(_in_pool, lambda size: _new_pool(size, start(), machine))
    else:
        run = partial(_on_cluster, scheduler, registry, pool, start, machine)
    work = _map(lines, jobs, run, command_options, ordered)
    sys.exit(asyncio.run(run_until_signal(work)))


async def _map(
    lines: _JobLines, size: int | None, run: Run, options: RunOptions, ordered: bool
) -> int:
    total = await lines.count()
    if total == 0:
        return 0
    if size is not None and total is not None:
        size = min(size, total)
    failures, ended_by = 0, None
    async with (
        run(lines.jobs(), size, options, ordered) as (outcomes, describe),
        _progress(total, describe) as show,
    ):
        async for outcome in outcomes:
            if ended_by is None and isinstance(outcome.error, NotRun):
                ended_by = outcome.error.reason
                standard_streams.print_error(
                    "no machine can be started: the remaining jobs are not run"
                )
            failed = status(outcome) != 0
            failures += failed
            try:
                await show(report(outcome), failed)
            except BrokenPipeError:
                # The reader has closed the pipe, as in `microvm map … | head -1`. Exit with the
                # status that SIGPIPE would cause.
                return 128 + signal.SIGPIPE
            except OSError as error:
                raise MicroVMError(f"cannot write the results: {error.strerror}") from error
    if ended_by is not None:
        raise ended_by
    return 1 if failures else 0


Outcomes = AsyncGenerator["Outcome[Any]", None]
Describe = Callable[[], Awaitable[str]]
Run = Callable[..., AbstractAsyncContextManager[tuple[Outcomes, Describe]]]


def _new_pool(size: int | None, start: Snapshot | Image, machine: PoolOptions) -> Pool:
    return Pool._from_options(size, start, complete_options(PoolOptions, machine))


@asynccontextmanager
async def _in_pool(
    find: Callable[[int | None], MachinePool],
    jobs: AsyncIterator[LineJob],
    size: int | None,
    options: RunOptions,
    ordered: bool,
) -> AsyncIterator[tuple[Outcomes, Describe]]:
    """Context manager: runs `jobs` in the machines of a pool, and yields their outcomes.

    It also yields a function that returns how many machines run, as text for the user.

    :param find: Function that returns the pool for a number of machines.
    """
    pool = find(size)

    async def describe() -> str:
        return f"machines: {pool.size}"

    async with pool, aclosing(pool._map(jobs, options, ordered=ordered)) as outcomes:
        yield outcomes, describe


@asynccontextmanager
async def _on_cluster(
    scheduler: str,
    registry: str | None,
    pool: str | None,
    start: Callable[[], Snapshot | Image],
    machine: PoolOptions,
    jobs: AsyncIterator[LineJob],
    size: int | None,
    options: RunOptions,
    ordered: bool,
) -> AsyncIterator[tuple[Outcomes, Describe]]:
    """Context manager: runs `jobs` on the Dask cluster of `scheduler`, and yields their outcomes.

    It also yields a function that returns a description of the cluster for the user.
    """
    try:
        from microvm.dask.batch import run_batch  # imports the package of the extra `dask`
        from microvm.dask.cluster import connected, shape
    except ImportError as error:
        raise MicroVMError(
            f"--scheduler needs the extra dask: {error}", hint=how_to_install("dask")
        ) from error
    async with connected(scheduler, size) as client:
        given = {**machine, **options}
        batch = run_batch(jobs, client, start(), registry, pool, size, ordered, given)
        async with aclosing(batch) as outcomes:
            yield outcomes, partial(shape, client)


@dataclass(frozen=True, slots=True)
class _JobLines:
    """The input of `microvm map`: lines that each contain a job.

    :ivar env: Environment variables that all jobs get.
    """

    descriptor: int
    env: Mapping[str, str] | Mapping[bytes, bytes] | None

    def jobs(self) -> AsyncIterator[LineJob]:
        return parse(read_lines(self.descriptor, _LINE_LIMIT), self.env)

    async def count(self) -> int | None:
        """Check all lines of a regular input file, and return the number of jobs.

        Return None for other inputs, because they can be read only once.
        """
        if not stat.S_ISREG(os.fstat(self.descriptor).st_mode):
            return None
        begin = os.lseek(self.descriptor, 0, os.SEEK_CUR)
        total = 0
        async for _ in self.jobs():
            total += 1
        os.lseek(self.descriptor, begin, os.SEEK_SET)
        return total


@asynccontextmanager
async def _progress(
    total: int | None, describe: Describe
) -> AsyncIterator[Callable[[bytes, bool], Awaitable[None]]]:
    """Context manager: shows a progress bar for `total` jobs, with the text from `describe`.

    The bar is shown only if standard error is a terminal. The context manager yields a function
    that prints the result of a job and updates the bar. The arguments of this function are the line
    to print, and True if the job failed.

    :param total: Number of jobs, or None if it is unknown.
    :param describe: Function that describes the machines or the cluster for the user. It is called
        at regular intervals, so that the user sees if nothing runs the jobs. If it raises OSError,
        the bar keeps the last description.
    """
    if not STDERR.moves:
        yield lambda line, _: write(1, line)
        return
    from rich import progress as bars
    from rich.console import Console

    description = "{task.fields[failed]} failed, {task.fields[rate]:.1f}/s, {task.fields[about]}"
    columns = (
        bars.SpinnerColumn(),
        bars.MofNCompleteColumn(),
        bars.BarColumn(bar_width=24),
        bars.TextColumn(description),
        bars.TimeElapsedColumn(),
    )
    with bars.Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        bar = progress.add_task("", total=total, failed=0, rate=0.0, about="")
        same = os.path.samestat(os.fstat(1), os.fstat(2))

        def update(**fields: Any) -> None:
            task = progress.tasks[bar]
            progress.update(bar, rate=task.completed / (task.elapsed or math.inf), **fields)

        async def refresh() -> None:
            while True:
                with suppress(OSError):
                    update(about=await describe())
                await asyncio.sleep(_REFRESH_INTERVAL)

        async def show(line: bytes, failed: bool) -> None:
            # the results go to the terminal that shows the bar, so print them above the bar
            if same:
                progress.console.out(line.decode(), end="", highlight=False)
            else:
                await write(1, line)
            progress.advance(bar)
            update(failed=progress.tasks[bar].fields["failed"] + failed)

        refreshing = asyncio.create_task(refresh())
        try:
            yield show
        finally:
            await cancel([refreshing])

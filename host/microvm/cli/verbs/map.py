"""`microvm map`: many commands, each in a machine of its own."""

from __future__ import annotations

import asyncio
import math
import os
import signal
import stat
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import dataclass
from functools import cache, partial
from typing import TYPE_CHECKING, Any

import click

from microvm.cli import names, shared, standard
from microvm.cli.signals import run_until_signal
from microvm.errors import MicroVMError, NotRun, how_to_install
from microvm.options import ExecOptions, ImageOptions, PoolOptions, RunOptions

if TYPE_CHECKING:
    from microvm.jobs.file import LineJob
    from microvm.jobs.job import Outcome
    from microvm.machine.snapshot import Snapshot
    from microvm_image.image import Image

# How often the bar is told what runs the jobs, in seconds: a cluster says it of each worker.
_LOOK = 2.0

# The bytes that a line of the input may have: a job with its standard input.
_LINE_LIMIT = 16 << 20


@click.command("map")
@click.option(
    "-j",
    "--jobs",
    callback=shared.count(1),
    metavar="N",
    help="Machines at a time. [default: one for each CPU]",
)
@click.option("--ordered", is_flag=True, help="Give results in the order of the jobs.")
@click.option(
    "--scheduler",
    metavar="ADDRESS",
    help="Run them on a cluster of Dask's: tcp://HOST:8786; or local:N, for N workers here.",
)
@click.option(
    "--registry",
    metavar="docker://HOST/REPOSITORY",
    help="With --scheduler: where workers get the image or snapshot from; it is put there first.",
)
@shared.options(ImageOptions, "map")
@shared.from_snapshot
@shared.options(PoolOptions, "map")
@shared.options(ExecOptions, "map")
@shared.verbose
@click.argument("file", type=click.Path(exists=True, dir_okay=False, allow_dash=True))
def map(  # noqa: A001 - the verb's name
    file: str,
    jobs: int | None,
    ordered: bool,
    scheduler: str | None,
    registry: str | None,
    image: str | None,
    snapshot: str | None,
    **options: Any,
) -> None:
    """Run each line of FILE in a machine of its own.

    FILE is `-` for standard input. A line is a job:

    \b
      uname -a | cut -c1-5           for `sh -c`
      ["echo", "hello"]              a JSON array: the command line
      {"argv": ["cat"], "id": "c1", "stdin": "hello", "env": {"A": "1"},
       "cwd": "/tmp", "user": "nobody", "timeout": "5s",
       "files": {"in.txt": "text", "/srv/x": {"base64": "/w=="}}, "collect": ["out.txt"]}
                                     a JSON object; also --max-output as max_output,
                                     and so on for every option of the command

    What begins with `[` or `{` is taken for JSON; empty lines and those that begin with `#` are
    skipped. A file is checked before anything runs; a pipe is read as jobs are run, and a line that
    cannot be ends it when the jobs before it are done.

    What `files` has is written before the command runs, and what `collect` names is read after it,
    also when it has failed: --max-output is the limit of all of them together, too. They are in the
    job's line as files, text by path, or an object with base64; one that is not there is an error.

    Each job gives a line of JSON on standard output as soon as it is done: line, id if it has one,
    argv, status (as that of `microvm run`), signal, reason, stdout and stderr, seconds, memory,
    error. What is no UTF-8 comes as argv_base64, stdout_base64 or stderr_base64 instead, and can be
    given as argv_base64 and stdin_base64.

    If a machine dies while it starts, another one is started after a pause. After repeated
    failures, the remaining jobs are not run. Each of them still has a line, with the status 125 and
    the reason NotRun, so FILE is read to its end. The exit status is:

    \b
      0       every job had status 0
      1       some had not
      2       wrong usage, or a line that cannot be
      125     microvm itself failed: no machine could be started
      128+N   signal N ended it: 130 for Ctrl-C, 141 when the reader has gone
    """  # noqa: D301 - click wants the backspace itself
    if registry is not None and scheduler is None:
        raise click.UsageError("--registry is for the workers of a cluster: it needs --scheduler")
    machine, how = shared.given(PoolOptions, options), shared.given(RunOptions, options)
    descriptor = 0 if file == "-" else os.open(file, os.O_RDONLY | os.O_CLOEXEC)
    lines = _Lines(descriptor, how.pop("env"))
    start = (
        partial(names.image_of, image)
        if snapshot is None
        else partial(shared.snapshot_of, snapshot, image)
    )
    work = _map(lines, jobs, start, machine, how, ordered, scheduler, registry)
    sys.exit(asyncio.run(run_until_signal(work)))


async def _map(
    lines: _Lines,
    machines: int | None,
    start: Callable[[], Snapshot | Image],
    machine: PoolOptions,
    options: RunOptions,
    ordered: bool,
    scheduler: str | None,
    registry: str | None,
) -> int:
    from microvm.jobs.file import report, status
    from microvm.system.capacity import usable_cpus

    total = await lines.count()
    if total == 0:
        return 0
    machine["notify"] = cache(standard.notify)  # what several machines say is said once
    size = machines or (usable_cpus() if scheduler is None else None)
    if size is not None and total is not None:
        size = min(size, total)
    run = _in_pool if scheduler is None else partial(_on_cluster, scheduler, registry)
    failures, ended_by = 0, None
    async with (
        run(lines.jobs(), size, start(), machine, options, ordered) as (outcomes, about),
        _progress(total, about) as show,
    ):
        async for outcome in outcomes:
            if ended_by is None and isinstance(outcome.error, NotRun):
                ended_by = outcome.error.reason
                standard.complain("no machine can be started: the remaining jobs are not run")
            failed = status(outcome) != 0
            failures += failed
            try:
                await show(report(outcome), failed)
            except BrokenPipeError:
                # Our reader has gone, as in `microvm map … | head -1`: end as the signal would.
                return 128 + signal.SIGPIPE
            except OSError as error:
                raise MicroVMError(f"cannot write the results: {error.strerror}") from error
    if ended_by is not None:
        raise ended_by
    return 1 if failures else 0


Outcomes = AsyncGenerator["Outcome[Any]", None]
About = Callable[[], Awaitable[str]]


@asynccontextmanager
async def _in_pool(
    jobs: AsyncIterator[LineJob],
    size: int | None,
    start: Snapshot | Image,
    machine: PoolOptions,
    options: RunOptions,
    ordered: bool,
) -> AsyncIterator[tuple[Outcomes, About]]:
    """Yield the outcomes of jobs that run on this host, and what says in how many machines."""
    from microvm.jobs.pool import Pool

    pool = Pool(size, start, **machine)

    async def about() -> str:
        return f"machines: {pool.size}"

    async with pool, aclosing(pool.map(jobs, ordered=ordered, **options)) as outcomes:
        yield outcomes, about


@asynccontextmanager
async def _on_cluster(
    scheduler: str,
    registry: str | None,
    jobs: AsyncIterator[LineJob],
    size: int | None,
    start: Snapshot | Image,
    machine: PoolOptions,
    options: RunOptions,
    ordered: bool,
) -> AsyncIterator[tuple[Outcomes, About]]:
    """The same of jobs that run on a cluster."""
    try:
        from microvm import dask
        from microvm.dask.cluster import connected, shape
    except ImportError as error:
        raise MicroVMError(
            f"--scheduler needs the extra dask: {error}", hint=how_to_install("dask")
        ) from error
    async with connected(scheduler, size) as client:
        outcomes = dask.map(
            jobs,
            client=client,
            image=start,
            registry=registry,
            size=size,
            ordered=ordered,
            **machine,
            **options,
        )
        async with aclosing(outcomes):
            yield outcomes, partial(shape, client)


@dataclass(frozen=True, slots=True)
class _Lines:
    """The file with the jobs, and the variables that all of them have."""

    descriptor: int
    env: Mapping[str, str] | Mapping[bytes, bytes] | None

    def jobs(self) -> AsyncIterator[LineJob]:
        from microvm.cli.lines import lines
        from microvm.jobs.file import parse

        return parse(lines(self.descriptor, _LINE_LIMIT), self.env)

    async def count(self) -> int | None:
        """Check a file and count its jobs; None for what can be read only once."""
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
    total: int | None, about: About
) -> AsyncIterator[Callable[[bytes, bool], Awaitable[None]]]:
    """Yield a function that writes a job's result, told whether it failed; it moves a bar, too.

    :param about: returns what runs the jobs, for people; asked again and again, since there may be
        no result because nothing runs them. An OSError leaves what it has said last.
    """
    from microvm.concurrency.tasks import cancel
    from microvm.guest.stdio import write
    from microvm.progress import STDERR

    if not STDERR.moves:
        yield lambda line, _: write(1, line)
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        SpinnerColumn,
        TextColumn,
        TimeElapsedColumn,
    )

    said = "{task.fields[failed]} failed, {task.fields[rate]:.1f}/s, {task.fields[about]}"
    columns = (
        SpinnerColumn(),
        MofNCompleteColumn(),
        BarColumn(bar_width=24),
        TextColumn(said),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        bar = progress.add_task("", total=total, failed=0, rate=0.0, about="")
        same = os.path.samestat(os.fstat(1), os.fstat(2))

        def update(**fields: Any) -> None:
            task = progress.tasks[bar]
            progress.update(bar, rate=task.completed / (task.elapsed or math.inf), **fields)

        async def look() -> None:
            while True:
                with suppress(OSError):
                    update(about=await about())
                await asyncio.sleep(_LOOK)

        async def show(line: bytes, failed: bool) -> None:
            if same:  # above the bar
                progress.console.out(line.decode(), end="", highlight=False)
            else:
                await write(1, line)
            progress.advance(bar)
            update(failed=progress.tasks[bar].fields["failed"] + failed)

        looking = asyncio.create_task(look())
        try:
            yield show
        finally:
            await cancel([looking])

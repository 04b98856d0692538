"""`microvm map`: many commands, each in a machine of its own."""

from __future__ import annotations

import asyncio
import os
import signal
import stat
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import aclosing, contextmanager
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Literal

import click

from microvm.cli import shared
from microvm.cli.signals import status_of
from microvm.errors import MicroVMError
from microvm.units import parse_size

if TYPE_CHECKING:
    from microvm.jobfile import LineJob
    from microvm.options import RunOptions

# Of one line of the input: a job with its standard input.
_LINE_LIMIT = 16 << 20


@dataclass(frozen=True, slots=True)
class _Options:
    jobs: int | None
    ordered: bool
    image: str | None
    memory: int
    cpus: int
    env: dict[str, str]
    cwd: str | None
    user: str | None
    timeout: float | None
    grace: float | None
    max_output: int
    max_processes: int
    max_memory: int
    accel: Literal["auto", "kvm", "tcg"]
    cold: bool


@click.command("map")
@click.option(
    "-j",
    "--jobs",
    callback=shared.parsed(shared.count(1)),
    metavar="N",
    help="Machines at a time. [default: one for each CPU]",
)
@click.option("--ordered", is_flag=True, help="Give results in the order of the jobs.")
@shared.image
@shared.memory
@shared.cpus
@shared.env
@shared.cwd
@shared.user
@shared.timeout
@shared.grace
@click.option(
    "--max-output",
    default="16M",
    callback=shared.parsed(parse_size),
    metavar="SIZE",
    show_default=True,
    help="Kill the command when it has written more than this.",
)
@shared.max_processes
@shared.max_memory
@shared.accel
@shared.cold
@click.argument("file", type=click.Path(exists=True, dir_okay=False, allow_dash=True))
def map(file: str, **options: Any) -> None:  # noqa: A001 - the verb's name
    """Run each line of FILE in a fresh virtual machine.

    FILE is `-` for standard input. A line is a job:

    \b
      uname -a | cut -c1-5           for `sh -c`
      ["echo", "hello"]              a JSON array: the command line
      {"argv": ["cat"], "id": "c1", "stdin": "hello", "env": {"A": "1"},
       "cwd": "/tmp", "user": "nobody", "timeout": "5s"}
                                     a JSON object; also grace, max_output,
                                     max_processes and max_memory

    What begins with `[` or `{` is taken for JSON; empty lines and those that begin with `#` are
    skipped. A file is checked before anything runs; a pipe is read as jobs are run, and a line that
    cannot be ends it when the jobs before it are done.

    Each job gives a line of JSON on standard output as soon as it is done: line, id if it has one,
    argv, status (as that of `microvm run`), signal, stdout and stderr, seconds, error. What is no
    UTF-8 comes as argv_base64, stdout_base64 or stderr_base64 instead, and can be given as
    argv_base64 and stdin_base64. The exit status is:

    \b
      0       every job had status 0
      1       some had not
      2       wrong usage, or a line that cannot be
      125     microvm itself failed: a machine could not be started
      128+N   signal N ended it: 130 for Ctrl-C, 141 when the reader has gone
    """  # noqa: D301 - click wants the backspace itself
    settings = _Options(**options)
    shared.check_grace(settings.timeout, settings.grace)
    descriptor = 0 if file == "-" else os.open(file, os.O_RDONLY | os.O_CLOEXEC)
    sys.exit(asyncio.run(status_of(_map(settings, descriptor))))


async def _map(options: _Options, descriptor: int) -> int:
    from microvm.capacity import usable_cpus
    from microvm.jobfile import report, status
    from microvm.pool import Pool

    total = await _count(options, descriptor)
    if total == 0:
        return 0
    size = options.jobs or usable_cpus()
    pool = Pool(
        size if total is None else min(size, total),
        image=shared.default_image() if options.image is None else options.image,
        memory=options.memory,
        cpus=options.cpus,
        accel=options.accel,
        cold=options.cold,
        notify=cache(shared.notify),  # what several machines say is said once
    )
    outcomes = pool.map(
        _jobs(options, descriptor), ordered=options.ordered, **_run_options(options)
    )
    failures = 0
    with _progress(total) as show:
        async with pool, aclosing(outcomes):
            async for outcome in outcomes:
                failed = status(outcome) != 0
                failures += failed
                try:
                    await show(report(outcome), failed)
                except BrokenPipeError:
                    # Our reader has gone, as in `microvm map … | head -1`: end as the signal would.
                    return 128 + signal.SIGPIPE
                except OSError as error:
                    raise MicroVMError(f"cannot write the results: {error.strerror}") from error
    return 1 if failures else 0


def _jobs(options: _Options, descriptor: int) -> AsyncIterator[LineJob]:
    from microvm.guest.stdio import lines
    from microvm.jobfile import parse

    return parse(lines(descriptor, _LINE_LIMIT), options.env)


async def _count(options: _Options, descriptor: int) -> int | None:
    """Check a file and count its jobs; None for what can be read only once."""
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        return None
    begin = os.lseek(descriptor, 0, os.SEEK_CUR)
    total = 0
    async for _ in _jobs(options, descriptor):
        total += 1
    os.lseek(descriptor, begin, os.SEEK_SET)
    return total


def _run_options(options: _Options) -> RunOptions:
    return {
        "cwd": options.cwd,
        "user": options.user,
        "timeout": options.timeout,
        "grace": options.grace,
        "max_output": options.max_output,
        "max_processes": options.max_processes,
        "max_memory": options.max_memory,
    }


@contextmanager
def _progress(total: int | None) -> Iterator[Callable[[bytes, bool], Awaitable[None]]]:
    """Give what writes a job's result, told whether it failed; on a terminal it moves a bar."""
    from microvm.guest.stdio import write

    if not sys.stderr.isatty():
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

    columns = (SpinnerColumn(), MofNCompleteColumn(), BarColumn(bar_width=24))
    tail = (TextColumn("{task.fields[failed]} failed"), TimeElapsedColumn())
    with Progress(*columns, *tail, console=Console(stderr=True), transient=True) as progress:
        bar = progress.add_task("", total=total, failed=0)
        same = os.path.samestat(os.fstat(1), os.fstat(2))

        async def show(line: bytes, failed: bool) -> None:
            if same:  # above the bar
                progress.console.out(line.decode(), end="", highlight=False)
            else:
                await write(1, line)
            before = progress.tasks[bar].fields["failed"]
            progress.update(bar, advance=1, failed=before + failed)

        yield show

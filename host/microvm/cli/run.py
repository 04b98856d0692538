"""`microvm run`: one command, in one machine that is gone afterwards."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from subprocess import PIPE
from typing import TYPE_CHECKING, Any, Literal

import click

from microvm.errors import ExecKilled, MicroVMError
from microvm.options import MAX_PROCESSES
from microvm.units import parse_size

if TYPE_CHECKING:
    from microvm.machine import MicroVM
    from microvm.process import Process

_SECOND_CTRL_C = 1.0

# How long the reader of our output may take for the rest of it when the command was killed.
_LAST_OUTPUT = 1.0


@dataclass(frozen=True, slots=True)
class _Options:
    image: str | None
    memory: str
    cpus: int
    env: dict[str, str]
    cwd: str | None
    user: str | None
    tty: bool
    timeout: float | None
    grace: float | None
    max_output: int | None
    max_processes: int
    max_memory: int
    accel: Literal["auto", "kvm", "tcg"]
    cold: bool
    console: Path | None
    verbose: bool


def _environment(
    context: click.Context, parameter: click.Parameter, entries: tuple[str, ...]
) -> dict[str, str]:
    del context, parameter
    for entry in entries:
        if not entry.partition("=")[0] or "=" not in entry:
            raise click.BadParameter(f"{entry!r} is not KEY=VALUE")
    return {key: value for key, _, value in (entry.partition("=") for entry in entries)}


def _size(context: click.Context, parameter: click.Parameter, size: str | None) -> int:
    del context, parameter
    return 0 if size is None else parse_size(size)


@click.command(context_settings={"allow_interspersed_args": False})
@click.option("--image", metavar="NAME|DIR", help="Default: built on the first run.")
@click.option("--memory", default="256M", metavar="SIZE", show_default=True, help="Of the guest.")
@click.option("--cpus", default=1, type=click.IntRange(1), show_default=True, help="Of the guest.")
@click.option(
    "-e",
    "--env",
    multiple=True,
    callback=_environment,
    metavar="KEY=VALUE",
    help="Set a variable; the host's environment is not passed on.",
)
@click.option("-w", "--cwd", metavar="DIR", help="Working directory. [default: the user's home]")
@click.option("-u", "--user", metavar="NAME|UID[:GROUP]", help="Run as this user. [default: root]")
@click.option(
    "-t", "--tty", is_flag=True, help="Give the command a terminal: ours, if we have one."
)
@click.option(
    "--timeout",
    type=click.FloatRange(0, min_open=True),
    metavar="SECONDS",
    help="Kill the command, and all that it has started, this long after its start.",
)
@click.option(
    "--grace",
    type=click.FloatRange(0, min_open=True),
    metavar="SECONDS",
    help="At --timeout, send SIGTERM first and kill this much later.",
)
@click.option(
    "--max-output",
    type=click.IntRange(0),
    metavar="BYTES",
    help="Kill the command when it has written more than this.",
)
@click.option(
    "--max-processes",
    type=click.IntRange(0),
    default=MAX_PROCESSES,
    show_default=True,
    help="Processes and threads that the command may have at a time; 0: no limit.",
)
@click.option(
    "--max-memory",
    callback=_size,
    metavar="SIZE",
    help="Memory that the command may take, such as 64M. [default: what the guest has]",
)
@click.option(
    "--accel",
    type=click.Choice(["auto", "kvm", "tcg"]),
    default="auto",
    show_default=True,
    help="`auto`: KVM where a guest really runs under it, emulation elsewhere.",
)
@click.option("--cold", is_flag=True, help="Boot the guest, instead of cloning a saved one.")
@click.option(
    "--console",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write the guest's serial console here, live, at most 16 MiB.",
)
@click.option("-v", "--verbose", is_flag=True, help="Say on stderr what happens.")
@click.argument("command", nargs=-1, required=True, metavar="[--] CMD [ARG]...")
def run(command: tuple[str, ...], **options: Any) -> None:
    r"""Run CMD in a fresh virtual machine, and throw the machine away.

    Standard input is passed on unless it is a terminal. The command's output comes as it is
    written, byte for byte; its exit status becomes ours:

    \b
      N       the command exited with N
      128+N   signal N ended it
      127     there is no such command; 126: it cannot be executed
      124     it ran past --timeout
      125     microvm itself failed, or the command went beyond --max-output

    Ctrl-C goes to the command; a second one within a second ends the machine. With -t the terminal
    is the command's, and Ctrl-C is a key like any other.
    """
    settings = _Options(**options)
    if settings.grace and not settings.timeout:
        raise click.UsageError("--grace is what --timeout gives: set that, too")
    sys.exit(asyncio.run(_Run(settings, command).result()))


class _Run:
    def __init__(self, options: _Options, command: tuple[str, ...]) -> None:
        self.options = options
        self.command = command
        self.process: Process | None = None
        self.interrupted = float("-inf")
        self.ended_by = 0
        self.begun = time.monotonic()

    async def result(self) -> int:
        """The exit status; 128+N when signal N has ended us, not the command."""
        loop = asyncio.get_running_loop()
        task = asyncio.create_task(self._run())
        loop.add_signal_handler(signal.SIGINT, self._interrupt, task)
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
            loop.add_signal_handler(number, self._end, task, number)
        try:
            return await task
        except asyncio.CancelledError:
            return 128 + self.ended_by

    def _interrupt(self, task: asyncio.Task[int]) -> None:
        now = time.monotonic()
        if self.process is None or now - self.interrupted < _SECOND_CTRL_C:
            self._end(task, signal.SIGINT)
        else:
            self.process.send_signal(signal.SIGINT)
        self.interrupted = now

    def _end(self, task: asyncio.Task[int], number: int) -> None:
        self.ended_by = number
        task.cancel()

    async def _run(self) -> int:
        from microvm.machine import MicroVM

        options = self.options
        machine = MicroVM(
            options.image or _default_image(),
            memory=options.memory,
            cpus=options.cpus,
            accel=options.accel,
            cold=options.cold,
            console=options.console,
            notify=_notify,
        )
        async with machine:
            how = "cloned" if machine.cloned else "booted"
            self._say(f"{how} under {machine.accel.upper()}, QEMU is process {machine.pid}")
            status = await self._command(machine)
            self._say(f"the command ended with status {status}")
        self._say("the machine is gone")
        return status

    async def _command(self, machine: MicroVM) -> int:
        from microvm.cli import terminal

        options = self.options
        process = self.process = await machine.exec(
            self.command,
            env=self._environment(),
            cwd=options.cwd,
            user=options.user,
            stdin=PIPE if self._forwards_stdin() else None,
            tty=terminal.size(0) if options.tty else False,
            timeout=options.timeout,
            grace=options.grace,
            max_output=options.max_output,
            max_processes=options.max_processes,
            max_memory=options.max_memory,
        )
        with terminal.lent(0, process) if options.tty else nullcontext():
            return await self._streams(process)

    def _forwards_stdin(self) -> bool:
        """Without a terminal of its own, a command has no use for ours."""
        return not os.isatty(0)

    def _environment(self) -> dict[str, str]:
        """With a terminal, the command is told what kind it is."""
        kind = {"TERM": os.environ.get("TERM", "dumb")} if self.options.tty else {}
        return {**kind, **self.options.env}

    async def _streams(self, process: Process) -> int:
        from microvm.stdio import copy_in

        copying = asyncio.create_task(self._copy_out(process))
        feeding = asyncio.create_task(copy_in(0, process.stdin)) if process.stdin else None
        ended = asyncio.create_task(process.wait())
        try:
            await asyncio.wait((copying, ended), return_when=asyncio.FIRST_EXCEPTION)
            if ended.done() and isinstance(ended.exception(), ExecKilled):
                # Its reader may never read on: then the end is not for it to hold up.
                await asyncio.wait((copying,), timeout=_LAST_OUTPUT)
            else:
                await copying
        except BrokenPipeError:
            # Our reader has gone, as in `microvm run … | head -1`: end as the signal would.
            process.abandon()
            return 128 + signal.SIGPIPE
        except OSError as error:
            process.abandon()
            raise MicroVMError(f"cannot write the command's output: {error.strerror}") from error
        finally:
            for task in (copying, feeding, ended):
                if task is not None:
                    task.cancel()
        returncode = await process.wait()
        return returncode if returncode >= 0 else 128 - returncode

    async def _copy_out(self, process: Process) -> None:
        from microvm.stdio import copy_out

        await asyncio.gather(copy_out(process.stdout, 1), copy_out(process.stderr, 2))

    def _say(self, text: str) -> None:
        if self.options.verbose:
            _notify(f"{time.monotonic() - self.begun:.3f} s: {text}")


def _default_image() -> Any:
    from microvm_image import default
    from microvm_image.progress import on_stderr

    with on_stderr() as report:
        return default(report=report)


def _notify(text: str) -> None:
    click.echo(f"microvm: {text}", err=True)

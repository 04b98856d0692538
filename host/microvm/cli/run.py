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

from microvm.cli import shared
from microvm.cli.signals import status_of
from microvm.errors import ExecKilled, MicroVMError

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


@click.command(context_settings={"allow_interspersed_args": False})
@shared.image
@shared.memory
@shared.cpus
@shared.env
@shared.cwd
@shared.user
@click.option(
    "-t", "--tty", is_flag=True, help="Give the command a terminal: ours, if we have one."
)
@shared.timeout
@shared.grace
@click.option(
    "--max-output",
    type=click.IntRange(0),
    metavar="BYTES",
    help="Kill the command when it has written more than this.",
)
@shared.max_processes
@shared.max_memory
@shared.accel
@shared.cold
@click.option(
    "--console",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write the guest's serial console here, live, at most 16 MiB.",
)
@click.option("-v", "--verbose", is_flag=True, help="Say on stderr what happens.")
@click.argument("command", nargs=-1, required=True, metavar="[--] CMD [ARG]...")
def run(command: tuple[str, ...], **options: Any) -> None:
    """Run CMD in a fresh virtual machine, and throw the machine away.

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
    """  # noqa: D301 - click wants the backspace itself
    settings = _Options(**options)
    shared.check_grace(settings.timeout, settings.grace)
    sys.exit(asyncio.run(_Run(settings, command).result()))


class _Run:
    def __init__(self, options: _Options, command: tuple[str, ...]) -> None:
        self.options = options
        self.command = command
        self.process: Process | None = None
        self.interrupted = float("-inf")
        self.begun = time.monotonic()

    async def result(self) -> int:
        """The exit status; 128+N when signal N has ended us, not the command."""
        return await status_of(self._run(), self._interrupt)

    def _interrupt(self) -> bool:
        """Pass a Ctrl-C on to the command; the second one within a second is for us."""
        now, before = time.monotonic(), self.interrupted
        self.interrupted = now
        if self.process is None or now - before < _SECOND_CTRL_C:
            return False
        self.process.send_signal(signal.SIGINT)
        return True

    async def _run(self) -> int:
        from microvm.machine import MicroVM

        options = self.options
        machine = MicroVM(
            options.image or shared.default_image(),
            memory=options.memory,
            cpus=options.cpus,
            accel=options.accel,
            cold=options.cold,
            console=options.console,
            notify=shared.notify,
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
            shared.notify(f"{time.monotonic() - self.begun:.3f} s: {text}")

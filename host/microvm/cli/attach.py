"""Runs a command in a new machine, with the standard streams, terminal and signals of the user."""

from __future__ import annotations

import asyncio
import os
import shlex
import signal
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, nullcontext
from errno import ENOENT
from functools import partial
from subprocess import PIPE
from typing import TYPE_CHECKING, cast

from microvm.cli import names, standard_streams, terminal
from microvm.cli.json_result import JsonResult
from microvm.cli.signals import run_until_signal
from microvm.errors import MachineError, MicroVMError, StartError
from microvm.guest.stdio import attach, copy_in, read, write
from microvm.machine import hints
from microvm.option import complete_options
from microvm.options import ExecOptions
from microvm.system import interrupt, terminal_hints

if TYPE_CHECKING:
    from typing import TypeAlias

    from microvm.cli.copies import Copies
    from microvm.guest.process import Process
    from microvm.guest.stdio import WriteFunction
    from microvm.machine.machine import MicroVM
    from microvm.ports import PublishedPort, ReversePort
    from microvm.supervisor.client.pooled import PooledVM

    WantedPorts: TypeAlias = tuple[Sequence[PublishedPort], Sequence[ReversePort]]


class AttachedRun:
    """A command in a new machine. The machine is deleted when the command exits.

    :param save: Name of the snapshot to save if the command exits with status 0.
    :param standard_input: True to pass standard input to the command. None passes it unless it is a
        terminal.
    :param wanted: Ports to open before files are copied, until the command has exited: first the
        ports of this host, then the ports of the guest.
    """

    def __init__(
        self,
        machine: MicroVM | PooledVM,
        command: tuple[str, ...],
        options: ExecOptions,
        copies: Copies,
        save: str | None = None,
        standard_input: bool | None = None,
        wanted: WantedPorts = ((), ()),
        result: JsonResult | None = None,
    ) -> None:
        self.machine = machine
        self.command = command
        self.options = options
        self.copies = copies
        self.save = save
        self.standard_input = standard_input
        self.wanted = wanted
        self.result = result or JsonResult()
        self.process: Process | None = None
        self.interrupted_at = float("-inf")
        self.explained = False  # True after the notice that a second Ctrl-C stops the machine

    async def status(self) -> int:
        """Run the command in the guest, and return the status with which `microvm` exits."""
        return await run_until_signal(self._run(), self._interrupt)

    def _interrupt(self) -> bool:
        """Handle Ctrl-C: send SIGINT to the command in the guest. Return True if it has been sent.

        Send nothing and return False if no command is running, or for a second Ctrl-C within a
        second. The caller then stops the machine.
        """
        now, before = time.monotonic(), self.interrupted_at
        self.interrupted_at = now
        if self.process is None or now - before < interrupt.AGAIN:
            return False
        self.process.send_signal(signal.SIGINT)
        if not self.explained and not self.options.get("tty"):
            asyncio.get_running_loop().call_later(interrupt.AGAIN, self._explain, self.process)
        return True

    def _explain(self, interrupted: Process) -> None:
        if self.process is interrupted and interrupted.returncode is None and not self.explained:
            self.explained = True
            terminal_hints.explain_interrupt(self.command[0], "to end the machine")

    async def _run(self) -> int:
        async with self.machine:
            try:
                async with self._ports():
                    with self.result.timed():
                        status = await self._copied_command()
            except BaseException:
                self._notify_unsaved()
                raise
            if status != 0:
                self._notify_unsaved(f": the status is {status}")
            elif self.save is not None:
                await self.machine.checkpoint(self.save)
            return status

    @asynccontextmanager
    async def _ports(self) -> AsyncIterator[None]:
        """Context manager: open the wanted ports, and close them at the end of its block."""
        if not any(self.wanted):
            yield
            return
        from microvm.cli import ports
        from microvm.machine.open_ports import OpenPorts
        from microvm.ports import facts

        async with OpenPorts(self.machine) as opened:
            self.result.ports = facts(*await opened.open(*self.wanted))
            ports.notify(*self.wanted, self.result.ports)
            yield

    def _notify_unsaved(self, why: str = "") -> None:
        if self.save is not None:
            standard_streams.print_error(f"no snapshot {self.save} was saved{why}")

    async def _copied_command(self) -> int:
        await self.copies.put(self.machine, self.options)
        try:
            status = await self._command()
        except (StartError, MachineError):
            raise
        except MicroVMError:
            await self._collect()
            raise
        failed = self.result.failed = await self._collect()
        return status or MicroVMError.exit_status if failed else status

    async def _collect(self) -> MicroVMError | None:
        # The command has ended, so forget its process. While files are collected, Ctrl-C then stops
        # the machine instead of being sent to the command.
        self.process = None
        return await self.copies.get(self.machine, self.options)

    async def _command(self) -> int:
        fed = self.standard_input
        if fed is None:  # the user has given neither `-i` nor `-n`
            fed = bool(self.options.get("tty")) or not os.isatty(0)
        options: ExecOptions = {**self.options, "stdin": PIPE if fed else None}
        if options.get("tty"):
            # Pass TERM, the type of the user's terminal, because the command needs it to control
            # the terminal.
            given = cast(Mapping[bytes, bytes], options.get("env", {}))
            env = {b"TERM": os.environb.get(b"TERM", b"dumb"), **given}
            options = {**options, "tty": terminal.size(0), "env": env}
        process = await self.machine._exec(self.command, complete_options(ExecOptions, options))
        self.process = self.result.process = process
        with terminal.raw_mode(0, process) if options.get("tty") and fed else nullcontext():
            try:
                return await self._streams(process, fed=fed)
            except StartError as error:
                cwd = self.options.get("cwd")
                hint = hints.about(error, self.command[0], cwd, "--copy")
                error.hint = hint or error.hint or self._image_hint(error)
                raise

    def _image_hint(self, error: StartError) -> str:
        """Return a hint if the command was not found and may be the name of an image, else ""."""
        first, *rest = self.command
        if error.errno != ENOENT or error.stage != "lookup" or not names.may_be_image(first):
            return ""
        command = shlex.join(rest[rest[:1] == ["--"] :])
        # In the user's command line, an option follows the name of the image. The next word may be
        # the value of this option, so it is unknown where the command begins. So show the
        # placeholder CMD instead of the command.
        if command.startswith("-"):
            command = "CMD"
        return f"to use an image, write `microvm run --image {first} -- {command}`"

    async def _streams(self, process: Process, *, fed: bool) -> int:
        feed = copy_in(partial(read, 0), process.stdin) if process.stdin and fed else None
        if process.stdin and not fed:
            # With `-t`, the command always has a standard input. No input is forwarded to it here,
            # so close it. The command then reads the end of file.
            process.stdin.close()
        errors = hints.ErrorTail()
        try:
            returncode = await attach(process, feed, self._write(1), errors.watch(self._write(2)))
        except BrokenPipeError:
            # The reader has closed the pipe, as in `microvm run … | head -1`. Exit with the status
            # that SIGPIPE would cause.
            return 128 + signal.SIGPIPE
        self.result.returncode = returncode
        # If the user has given neither `-i` nor `-n`, and standard input is a terminal, the command
        # has got no input. The user may have wanted `-t`.
        unasked = self.standard_input is None and not self.result.is_asked_for
        if returncode == 0 and unasked and not fed:
            terminal_hints.suggest_terminal(self.command)
        peak, memory = process.memory, self.machine.memory
        if hint := errors.hint(returncode, peak, memory, copier="--copy", opener="-R"):
            standard_streams.notify(hint)
        return returncode if returncode >= 0 else 128 - returncode

    def _write(self, descriptor: int) -> WriteFunction:
        """Return a function that prints or stores output of stream 1 (stdout) or 2 (stderr)."""
        if self.result.output is None:
            return partial(write, descriptor)
        kept = self.result.output[descriptor - 1]

        async def keep(data: bytearray | bytes | memoryview) -> None:
            kept.extend(data)

        return keep

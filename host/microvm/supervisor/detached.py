"""The detached commands of a machine, which run without a client until they exit."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack, contextmanager, suppress
from functools import partial
from subprocess import PIPE
from typing import TYPE_CHECKING, Any

from microvm.errors import Busy, ExecKilled, MachineError, ProcessNotFound, UsageError
from microvm.supervisor.queue import CommandQueue
from microvm.supervisor.recent_output import RecentOutput

if TYPE_CHECKING:
    from microvm.guest.process import Process
    from microvm.guest.streams import InputStream, OutputStream
    from microvm.machine.machine import MicroVM

FINISHED = 8
"""Maximum number of commands whose results and recent output are kept after they have exited.

If a machine permits more than this number of commands at once, its maximum is that larger number,
because all of these commands can exit at the same time.
"""


class DetachedCommand:
    """A command that the supervisor started for a client, and that outlives this client.

    :ivar number: Id of the command, by which clients find it.
    :ivar shown: Command line, safe to print.
    :ivar args: Arguments of the command, as the client sent them.
    """

    def __init__(
        self, number: int, shown: str, args: list[str], options: dict[str, Any], process: Process
    ) -> None:
        """Create the record of a command that was started with `options` as `process`."""
        self.number = number
        self.shown = shown
        self.args = args or [options.get("command", "")]
        self.process = process
        self.has_terminal = bool(options.get("tty"))
        self.has_input = options.get("stdin") == PIPE
        self.stdout = RecentOutput()
        self.stderr = RecentOutput()
        self._input_is_used = False
        self._running: asyncio.Task[None]
        if process.stdin and not self.has_input:
            # A command with a terminal always has an input stream. No client may use this one.
            process.stdin.close()

    def begin(self, running: AsyncExitStack, on_exit: Callable[[], object]) -> None:
        """Start to keep the output of the command.

        When the command has exited, close `running`, and call `on_exit`.
        """
        self._running = asyncio.create_task(self._run(running))
        # Read the error once, because asyncio would log an error that nobody has read.
        self._running.add_done_callback(lambda task: task.cancelled() or task.exception())
        self._running.add_done_callback(lambda _: on_exit())

    async def _run(self, running: AsyncExitStack) -> None:
        async with running:
            await asyncio.gather(
                _keep(self.process.stdout, self.stdout), _keep(self.process.stderr, self.stderr)
            )
            await self.process.wait()

    @property
    def has_exited(self) -> bool:
        """True if the command has exited."""
        return self._running.done()

    async def wait(self) -> dict[str, Any]:
        """Wait until the command exits; return its return code and its memory, or raise its error.

        The errors are those of `Process.wait`.
        """
        await asyncio.wait([self._running])
        self._running.result()
        return {"returncode": self.process.returncode, "memory": self.process.memory}

    @contextmanager
    def input(self) -> Iterator[InputStream]:
        """Context manager: reserve the input of the command for one client.

        :raises UsageError: If the command was started without input.
        :raises Busy: If another client uses the input.
        """
        stream = self.process.stdin
        if stream is None or not self.has_input:
            raise UsageError(
                f"command {self.number} has no input",
                hint="start it with -i, or stdin=PIPE; -n, or stdin=None, attaches without input",
            )
        if self._input_is_used:
            raise Busy(
                f"another client is attached to the input of command {self.number}",
                hint="-n, or stdin=None, attaches without input",
            )
        self._input_is_used = True
        try:
            yield stream
        finally:
            self._input_is_used = False

    def facts(self) -> dict[str, Any]:
        """Return the description of the command for `microvm inspect`."""
        returncode = self.process.returncode if self.has_exited else None
        return {"id": self.number, "command": self.shown, "returncode": returncode}


async def _keep(stream: OutputStream, output: RecentOutput) -> None:
    try:
        with suppress(MachineError):  # `Process.wait` raises this error, too
            while chunk := await stream.next_chunk():
                output.feed(chunk)
    finally:
        output.close()


class DetachedCommands:
    """The detached commands of a machine: all running ones, and the last ones that have exited."""

    def __init__(self, queue: CommandQueue) -> None:
        """Create an empty collection. Its commands use the guest in the order of `queue`."""
        self._queue = queue
        self._commands: dict[int, DetachedCommand] = {}
        self._exited: list[int] = []  # numbers of the kept commands, in the order of their exits
        self._last = 0

    async def start(
        self,
        machine: Callable[[], MicroVM],
        args: list[str],
        options: dict[str, Any],
        shown: str,
        *,
        wait: bool,
    ) -> DetachedCommand:
        """Start a detached command. If the guest is busy and `wait` is True, wait in its queue.

        :param machine: Function that returns the machine, or raises an error. It is called when the
            queue lets the command start.
        :param shown: Command line, safe to print.
        :raises Busy: If the guest is busy, and `wait` is False.
        :raises StartError: If the command could not be started.
        """
        async with AsyncExitStack() as running:
            use = await running.enter_async_context(self._queue.turn(shown, wait=wait))
            vm = machine()
            process = await running.enter_async_context(await vm.exec(args, **options))
            # The guest reports a command that cannot be started before it answers this ping.
            await vm.ping()
            if process.returncode is not None:
                with suppress(ExecKilled):
                    await process.wait()
            self._last += 1
            command = DetachedCommand(self._last, shown, args, options, process)
            use.number = command.number
            self._commands[command.number] = command
            command.begin(running.pop_all(), partial(self._forget_oldest, command.number))
        return command

    def _forget_oldest(self, exited: int) -> None:
        # Forget in the order of the exits, not of the starts. Otherwise the result of a command
        # that ran longer than the others would be lost at its exit.
        self._exited.append(exited)
        if len(self._exited) > max(FINISHED, self._queue.slots):
            del self._commands[self._exited.pop(0)]

    def find(self, number: object) -> DetachedCommand:
        """Return the detached command whose id is `number`.

        :raises ProcessNotFound: If no such command exists, or if it was forgotten.
        """
        command = self._commands.get(number) if isinstance(number, int) else None
        if command is None:
            name = self._queue.name
            raise ProcessNotFound(
                f"machine {name} has no detached command {number}",
                hint=f"`microvm inspect {name}` lists them; of those that have exited, only the "
                f"last {max(FINISHED, self._queue.slots)} are kept",
            )
        return command

    def facts(self) -> list[dict[str, Any]]:
        """Return the descriptions of all commands in the order of their start."""
        return [each.facts() for each in self._commands.values()]

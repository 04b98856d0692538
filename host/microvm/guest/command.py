"""The state of a command in a guest: its output that was not read yet, and its result."""

from __future__ import annotations

import asyncio
import os
import shlex
from collections.abc import Callable, Sequence

from microvm.errors import (
    ExecKilled,
    MachineError,
    MemoryLimit,
    MicroVMError,
    OutputLimit,
    StartError,
)
from microvm.guest.streams import InputStream, OutputBuffer
from microvm.log import DEBUG, Area
from microvm.printable import printable
from microvm.wire import codec
from microvm.wire.session import WINDOW

_logger = Area("guest")


class Command:
    """The state of a command, updated by messages of the guest. A `Process` shows it to users."""

    def __init__(
        self,
        args: Sequence[str | bytes],
        request: codec.ExecRequest,
        *,
        stdin: InputStream | None,
        consumed: Callable[[codec.Stream, int], None],
        max_output: int | None,
    ) -> None:
        """Create the state of the command in `request`; call `consumed` when its output is read.

        :param max_output: Maximum number of bytes of standard output and standard error together,
            or None for no limit.
        """
        self.args = args
        self.stdin = stdin
        self.stdout = OutputBuffer(lambda amount: consumed(codec.Stream.STDOUT, amount))
        self.stderr = OutputBuffer(lambda amount: consumed(codec.Stream.STDERR, amount))
        self.returncode: int | None = None
        self.memory: int | None = None
        self.error: MicroVMError | None = None
        self.ended = asyncio.Event()
        self.abandoned = False
        self.on_output: Callable[[bytes | memoryview], None] | None = None
        self._request = request
        self._max_output = max_output
        self._output = 0
        if _logger.listens(DEBUG):
            _logger.debug("%s started: %s", self.name, _description(request))

    @property
    def program(self) -> bytes:
        """The path of the program that the command runs, as it is sent to the guest."""
        return self._request.command

    @property
    def name(self) -> str:
        """The name of the command in messages and errors."""
        return printable(os.fsdecode(self.args[0]))

    def feed(self, message: codec.ExecOutput) -> bool:
        """Add output from the guest; return False if the command has exceeded `max_output`."""
        data = message.data
        if self._max_output is not None:
            data = data[: self._max_output - self._output]
            self._output += len(data)
        if self.on_output is not None:
            self.on_output(data)
        stream = self.stdout if message.stream is codec.Stream.STDOUT else self.stderr
        stream.feed(data, len(message.data) - len(data))
        if len(data) == len(message.data):
            return True
        self.mark_killed(OutputLimit(self.name, self._max_output or 0))
        return False

    def release(self, keep: int) -> None:
        """Accept all further output without a reader; store only `keep` more bytes per stream."""
        self.stdout.release(keep)
        self.stderr.release(keep)

    def mark_killed(self, error: ExecKilled) -> None:
        """Set the error that explains why the host kills the command. Earlier output is kept."""
        _logger.info("%s", error)
        self.error = self.error or error
        self.release(WINDOW)

    def finish(self, message: codec.ExecResponse | codec.ExecFailed) -> None:
        """Set the result of the command, as the guest reported it."""
        if isinstance(message, codec.ExecResponse):
            exited = message.ending is codec.Ending.EXITED
            self.returncode = message.status if exited else -message.status
            self.memory = message.memory or None
            if message.ending is codec.Ending.OUT_OF_MEMORY:
                self.error = self.error or MemoryLimit(self.name, self._request.max_memory)
            if isinstance(self.error, ExecKilled):
                self.error.memory, self.error.returncode = self.memory, self.returncode
        else:
            stage = message.stage
            name = stage.name.lower() if isinstance(stage, codec.Stage) else f"stage {stage}"
            subjects: dict[int, bytes] = {
                codec.Stage.CHDIR: self._request.cwd,
                codec.Stage.USER: self._request.user,
                codec.Stage.INTERPRETER: bytes(message.missing),
            }
            # Show a byte that is not UTF-8 as `\xNN`, by the option `backslashreplace`. With the
            # option `surrogateescape`, the function `printable` would show the longer `\udcXX`.
            subject = printable(subjects.get(stage, b"").decode(errors="backslashreplace"))
            self.error = StartError.of(name, message.error_number, self.name, subject)
            self.returncode = self.error.exit_status
        self._end(None)

    def exit(self, returncode: int) -> None:
        """Set the return code of a command that another process, the supervisor, ran for us."""
        self.returncode = returncode
        self._end(None)

    def fail(self, error: MicroVMError) -> None:
        """End the command with an error instead of a result, such as the loss of the machine."""
        self.error = error
        self.returncode = error.exit_status
        self._end(error if isinstance(error, MachineError) else None)

    def _end(self, error: MachineError | None) -> None:
        if error is not None:
            _logger.info("%s is lost: %s", self.name, error.message)
        elif isinstance(self.returncode, int) and self.returncode < 0:
            _logger.debug("%s was killed by signal %d", self.name, -self.returncode)
        else:
            _logger.debug("%s exited with status %s", self.name, self.returncode)
        if self.stdin is not None:
            self.stdin._refuse()
        self.stdout.end(error)
        self.stderr.end(error)
        self.ended.set()


def _description(request: codec.ExecRequest) -> str:
    """Return a description of a command for the log.

    The description omits the values of environment variables, which may be secret.
    """
    argv = shlex.join(map(os.fsdecode, request.argv))
    names = " ".join(os.fsdecode(entry.partition(b"=")[0]) for entry in request.env)
    user, folder = os.fsdecode(request.user), os.fsdecode(request.cwd)
    where = f"as {user or 'root'} in {folder or 'its home'}"
    return f"{argv}; environment: {names or 'the default'}; {where}"

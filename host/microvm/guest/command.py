"""A `Command` holds what a command in flight has written, and how it ended."""

from __future__ import annotations

import asyncio
import os
import shlex
from collections.abc import Callable, Sequence

from microvm.errors import (
    ExecKilled,
    ExecTimeout,
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
    """A command in flight, fed by its guest; its user has a `Process` of it, and may drop that.

    :ivar args: the command line.
    :ivar stdin: its standard input, where a pipe or a terminal was asked for.
    :ivar returncode: the exit code, -N when signal N ended it, or None while it runs.
    :ivar memory: the most memory that it took, in bytes; None while it runs, or if nobody knows.
    :ivar error: why there is no exit code that its user would want.
    :ivar ended: set when it is over.
    :ivar abandoned: whether it is being killed because nobody wants to know how it ends.
    :ivar on_output: called with what it writes to either stream, as it comes; None: nobody is.
    """

    def __init__(
        self,
        args: Sequence[str | bytes],
        request: codec.ExecRequest,
        *,
        stdin: InputStream | None,
        consumed: Callable[[codec.Stream, int], None],
        max_output: int | None,
    ) -> None:
        """Prepare one; `consumed` is called with each number of bytes that were taken."""
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
        _logger.info("%s begins", self.name)
        if _logger.listens(DEBUG):
            _logger.debug("%s", _described(request))

    @property
    def program(self) -> bytes:
        """The file that is executed, as the guest is told."""
        return self._request.command

    @property
    def name(self) -> str:
        """The command, for messages."""
        return printable(os.fsdecode(self.args[0]))

    def feed(self, message: codec.ExecOutput) -> bool:
        """Add output that the guest sent; False when that is more than it may write."""
        data = message.data
        if self._max_output is not None:
            data = data[: self._max_output - self._output]
            self._output += len(data)
        if self.on_output is not None:
            self.on_output(data)
        stream = self.stdout if message.stream is codec.Stream.STDOUT else self.stderr
        stream.feed(data, len(message.data) - len(data))
        return len(data) == len(message.data)

    def release(self, keep: int) -> None:
        """Hold the command back no more, whoever reads: keep `keep` bytes more of each stream."""
        self.stdout.release(keep)
        self.stderr.release(keep)

    def mark_killed(self, error: ExecKilled) -> None:
        """Note why the command is about to be killed; what it has written already is kept."""
        _logger.info("%s", error)
        self.error = self.error or error
        self.release(WINDOW)

    def over_limit(self) -> OutputLimit:
        """Return the error for a command that has written more than it may."""
        return OutputLimit(self.name, self._max_output or 0)

    def over_time(self, timeout: float) -> ExecTimeout:
        """Return the error for a command that has run too long."""
        return ExecTimeout(self.name, timeout)

    def finish(self, message: codec.ExecResponse | codec.ExecFailed) -> None:
        """Note how the command ended."""
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
            # Four characters a byte at most, where a surrogate has six: the guest may say it.
            subject = printable(subjects.get(stage, b"").decode(errors="backslashreplace"))
            self.error = StartError(name, message.error_number, self.name, subject)
            self.returncode = self.error.exit_status
        self._end(None)

    def exit(self, returncode: int) -> None:
        """Note how the command ended, which somebody else has been told."""
        self.returncode = returncode
        self._end(None)

    def fail(self, error: MicroVMError) -> None:
        """Note what the command came to in the place of an end of its own: the machine's, say."""
        self.error = error
        self.returncode = error.exit_status
        self._end(error if isinstance(error, MachineError) else None)

    def _end(self, error: MachineError | None) -> None:
        if error is not None:
            _logger.info("%s is lost: %s", self.name, error.message)
        elif isinstance(self.returncode, int) and self.returncode < 0:
            _logger.info("%s was ended by signal %d", self.name, -self.returncode)
        else:
            _logger.info("%s ended with status %s", self.name, self.returncode)
        if self.stdin is not None:
            self.stdin._refuse()
        self.stdout.end(error)
        self.stderr.end(error)
        self.ended.set()


def _described(request: codec.ExecRequest) -> str:
    """A command line and what it runs in, without the values of variables: they may be secret."""
    argv = shlex.join(map(os.fsdecode, request.argv))
    names = " ".join(os.fsdecode(entry.partition(b"=")[0]) for entry in request.env)
    user, folder = os.fsdecode(request.user), os.fsdecode(request.cwd)
    where = f"as {user or 'root'} in {folder or 'its home'}"
    return f"{argv}; environment: {names or 'the default'}; {where}"
